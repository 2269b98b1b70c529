"""Make passwords: temporary ones that can be read out over the phone, and those that only machines ever type."""

from __future__ import annotations

import secrets
from collections.abc import Iterable, Sequence
from string import ascii_lowercase, ascii_uppercase, digits
from typing import Final, Protocol, TypeVar
from unicodedata import normalize

from bot.model import Secret

T = TypeVar("T")


class Chooser(Protocol):
    """Where the randomness comes from: the module `secrets`, or a seeded generator in a test."""

    def choice(self, seq: Sequence[T], /) -> T: ...


def speakable_password(names: Iterable[str], rng: Chooser = secrets) -> Secret:
    """A password such as `Maple-Otter-Piano-4728` with nothing in it of *names*: the person's, the tenant's.

    Three of 512 words and four digits: 3 x 9 + 4 x 3.3 = 40 bits, for one sign-in, which has to change it. At least 19
    characters of all four classes, with a hyphen as the only sign: it survives Slack, shells and every keyboard. What
    Entra refuses is left out: any part of *names* of four letters or more, also with digits that look like letters
    (Entra docs: *Eliminate bad passwords using Microsoft Entra Password Protection*).
    """
    parts = {part for name in names for part in _parts(name)}
    while True:
        words = [rng.choice(WORDS).capitalize() for _ in range(3)]
        number = "".join(rng.choice(digits) for _ in range(4))
        password = "-".join([*words, number])
        # Words may join into a name across their hyphen: `Coral-Lava` holds Alla.
        if len(set(words)) == 3 and not any(part in _plain(password) for part in parts):
            return Secret(password)


LENGTH: Final = 16
"""How many characters a service account's password has."""

SURVIVING: Final = "-.+="
"""Signs that neither Slack nor a shell nor a URL's path takes for something else."""

_CLASSES: Final = (ascii_lowercase, ascii_uppercase, digits, SURVIVING)


def service_password(names: Iterable[str], rng: Chooser = secrets) -> Secret:
    """A password for an account that nobody uses by hand: 16 characters of all four classes, with nothing of *names*.

    It begins and ends with a letter or a digit, so that no reader takes a sign at the edge for something else. About
    95 bits.
    """
    parts = {part for name in names for part in _parts(name)}
    while True:
        password = "".join(rng.choice("".join(_CLASSES)) for _ in range(LENGTH))
        whole = all(set(each) & set(password) for each in _CLASSES)
        edges = password[0] not in SURVIVING and password[-1] not in SURVIVING
        if whole and edges and not any(part in _plain(password) for part in parts):
            return Secret(password)


def spell(password: str) -> list[tuple[str, str]]:
    """Each character with how to say it on the phone: `("M", "capital Mike")`, `("7", "seven")`, `("-", "hyphen")`."""
    return [(char, _said(char)) for char in password]


def _said(char: str) -> str:
    if word := _ALPHABET.get(char.lower()):
        return f"capital {word}" if char.isupper() else word.lower()
    return _SIGNS.get(char, char)


_LOOKALIKES: Final = str.maketrans("01$@!3457", "olsaieast")


def _plain(text: str) -> str:
    """*text* as it is compared with names: letters alone, without accents, digits as the letters they resemble."""
    return "".join(char for char in normalize("NFKD", text).lower().translate(_LOOKALIKES) if char.isalpha())


def _parts(name: str) -> list[str]:
    words = "".join(char if char.isalnum() else " " for char in normalize("NFC", name)).split()
    return [part for part in map(_plain, words) if len(part) >= 4]


_SPOKEN: Final = (
    "Alfa Bravo Charlie Delta Echo Foxtrot Golf Hotel India Juliett Kilo Lima Mike November Oscar Papa Quebec Romeo "
    "Sierra Tango Uniform Victor Whiskey X-ray Yankee Zulu"
)
_ALPHABET: Final = {word[0].lower(): word for word in _SPOKEN.split()}

_SIGNS: Final = {
    "0": "zero",
    "1": "one",
    "2": "two",
    "3": "three",
    "4": "four",
    "5": "five",
    "6": "six",
    "7": "seven",
    "8": "eight",
    "9": "nine",
    "-": "hyphen",
    ".": "dot",
    "_": "underscore",
    "!": "exclamation mark",
    "#": "hash",
    "$": "dollar sign",
    "%": "percent sign",
    "*": "asterisk",
    "+": "plus sign",
    "=": "equals sign",
    "?": "question mark",
    "@": "at sign",
    "~": "tilde",
    "^": "caret",
    "&": "ampersand",
}
"""What a generated password, or a temporary access pass of Microsoft's, may hold beside letters."""

_WORDS: Final = """
    abacus acorn album almond alpaca amber anchor antler anvil apple apron arena arrow aspen atlas attic aurora
    axle badger bagel baker ballet bamboo banjo barley barn barrel basalt basil basket bazaar beach beacon
    beaver beetle bingo blaze bobcat bottle boxer branch breeze brick bridge bronze broom bubble bucket buffet
    bugle bunny burger butter button cabin cactus camel camera campus canal canary candle candy canoe canyon
    carbon carpet cashew castle celery cello cement chalk cheese cherry chisel cinema circus citrus cliff clinic
    cloak cloud clover cobalt cobweb cocoa coffee comet cookie copper coral corner cosmic cougar coyote cradle
    crater crayon crown cube cuckoo curry dahlia daisy dancer denim desert dimple dinner disco domino donkey
    drama dream drum dynamo eagle earth echo engine fabric falcon farmer fender fennel ferry fiddle field fiesta
    finch flame fleece flint float flute focus foggy folder forest fossil fresco frost fruit gadget galaxy
    gallop garage garden garlic garnet gate gazebo gecko genius gentle giant ginger glass glider globe goblet
    golden goose gopher grape gravel gravy green grotto guava guitar hamlet hammer hazel helium helmet heron
    hiccup hinge hippo hobby hockey honey hotel humble husky icicle igloo iguana impact impala indigo inkpot
    island ivory jackal jacket jaguar jazz jelly jersey jester jigsaw jogger judo juice jumbo jumper jungle
    junior karate kayak kebab kettle keypad kimono kiwi koala ladder ladle lagoon lamp laptop larch laser lasso
    laurel lava lawn leaf ledger lemon lentil lesson level lilac lily linen lion lizard llama locust logic lotus
    lucky lumber lunar lunch magic magnet magpie mammal mango mantis maple marble margin marina market marvel
    mascot meadow melody melon memory mentor meteor metro milk mirror mitten mocha modern module mosaic motor
    mural museum mystic nachos napkin nature navy nebula nectar nickel nimbus noodle novel nugget nutmeg oasis
    oboe ocean ocelot octave office olive onion opal opera orbit orchid osprey otter outfit outlet oxygen oyster
    paddle palace palm panda panel papaya paper parade parcel parrot pasta pastry patio patrol peanut pebble
    pecan pencil pepper photo piano pickle picnic pigeon pillow pilot piston pixel pizza planet plasma plaza
    plenty polar polka pollen poncho pony poppy portal potato powder puffin pulley puppet purple puzzle python
    quarry quilt quokka rabbit radar radio radish raft raisin random rapid raven record reef remedy rescue
    resort ribbon ripple river robin robot rocket rodeo roller rubber rugby ruler rustic safari sailor salad
    salmon salsa salute sample sandal saucer scarf school scout scroll season sesame shadow shield shovel shrimp
    shrub signal silver sketch slogan smile snack snail soccer sofa sonar sonnet sorbet spark sphere spider
    spiral sponge sprout spruce squash squid stamp staple statue stereo stone street stucco studio summit sunset
    sushi syrup table talent tandem tassel tavern teacup teapot tempo tennis tiara ticket tiger timber tinsel
    toast tofu tomato tomcat topaz torch toucan tower trail tripod trophy truck tuba tulip tundra tunnel turnip
    turtle tuxedo urchin vacuum valley velvet venue vessel video viking villa violin virtue vision vivid vortex
    voyage waffle wagon walnut walrus water weasel wedge wheat whisk widget window wisdom wombat wonder yacht
    yellow yodel zebra zenith zephyr zesty zigzag zipper zircon
"""

WORDS: Final = tuple(_WORDS.split())
"""512 common words of four to six letters. No two differ by one letter only, none is the beginning of another, and
words that sound like other words, or that nobody wants to read out to a stranger, are left out."""
