// Slack's mrkdwn as DOM nodes: emphasis, code, links, mentions, dates, emoji, quotes and line breaks.

import {h} from "./dom.js";

const EMOJI = {
  alarm_clock: "⏰", arrow_right: "➡️", arrows_counterclockwise: "🔄", ballot_box_with_check: "☑️", bell: "🔔", black_circle: "⚫",
  bulb: "💡", bust_in_silhouette: "👤", busts_in_silhouette: "👥", calendar: "📆", clipboard: "📋", clock1: "🕐", closed_lock_with_key: "🔐",
  cloud: "☁️", construction: "🚧", eyes: "👀", exclamation: "❗", file_folder: "📁", fire: "🔥", gear: "⚙️", grey_question: "❔",
  hammer_and_wrench: "🛠️", heavy_check_mark: "✔️", heavy_minus_sign: "➖", hourglass: "⌛", hourglass_flowing_sand: "⏳", house: "🏠",
  information_source: "ℹ️", inbox_tray: "📥", key: "🔑", large_blue_circle: "🔵", large_green_circle: "🟢", large_orange_circle: "🟠",
  large_red_circle: "🔴", large_yellow_circle: "🟡", leftwards_arrow_with_hook: "↩️", link: "🔗", lock: "🔒", lock_with_ink_pen: "🔏",
  mag: "🔍", memo: "📝", no_entry: "⛔", no_entry_sign: "🚫", office: "🏢", old_key: "🗝️", outbox_tray: "📤", pencil: "📝", pencil2: "✏️",
  phone: "☎️", point_right: "👉", question: "❓", raised_hand: "✋", recycle: "♻️", red_circle: "🔴", repeat: "🔁", rotating_light: "🚨", scroll: "📜",
  shield: "🛡️", shrug: "🤷", sos: "🆘", speech_balloon: "💬", stop_sign: "🛑", stopwatch: "⏱️", tada: "🎉", telephone_receiver: "📞",
  ticket: "🎫", timer_clock: "⏲️", unlock: "🔓", warning: "⚠️", wastebasket: "🗑️", wave: "👋", white_check_mark: "✅", white_circle: "⚪",
  wrench: "🔧", x: "❌", zap: "⚡", zzz: "💤",
};

const ENTITIES = {"&amp;": "&", "&lt;": "<", "&gt;": ">"};
const MARKS = {"*": "strong", _: "em", "~": "s"};
const EDGE = /[\s.,;:!?()[\]{}"'“”‘’—–\-/|]/;

const decode = (text) => text.replace(/&(?:amp|lt|gt);/g, (entity) => ENTITIES[entity]);

/** Text with `:shortcodes:` as characters; a code that is not known stays as it is written. */
export function emojis(text) {
  return text.replace(/:([a-z0-9_+-]+):/g, (whole, name) => EMOJI[name] ?? whole);
}

/** One emoji by its name. */
export function emoji(name) {
  return h("span.emoji", {role: "img", "aria-label": name.replaceAll("_", " ")}, EMOJI[name] ?? `:${name}:`);
}

/** A link to an address people may follow; any other scheme stays text. */
export function link(address, label) {
  if (!/^(https?:|mailto:)/i.test(address)) return document.createTextNode(label);
  return h("a", {href: address, target: "_blank", rel: "noopener noreferrer"}, label);
}

/** mrkdwn as nodes. `names` knows `user(id)`, `channel(id)` and the world's `now()` in seconds. */
export function mrkdwn(text, names) {
  const nodes = [];
  // Code blocks come first: nothing inside them means anything.
  text.split(/```([\s\S]+?)```/).forEach((part, index) => {
    if (index % 2) nodes.push(h("pre", {}, decode(part.replace(/^\n/, ""))));
    else if (part) nodes.push(...paragraphs(part, names));
  });
  return nodes;
}

/** plain_text: line breaks and, where allowed, emoji. */
export function plain(text, withEmoji = true) {
  return lines(text.split("\n").map((line) => [withEmoji ? emojis(line) : line]));
}

function paragraphs(text, names) {
  const nodes = [];
  let run = [];
  let quoted = false;
  const flush = () => {
    const rendered = lines(run.map((line) => inline(line, names)));
    if (run.length) nodes.push(...(quoted ? [h("blockquote", {}, rendered)] : rendered));
    run = [];
  };
  for (const line of text.split("\n")) {
    const quote = line.startsWith("&gt;") || line.startsWith(">");
    if (quote !== quoted) {
      flush();
      quoted = quote;
    }
    run.push(quote ? line.replace(/^(&gt;|>) ?/, "") : line);
  }
  flush();
  return nodes;
}

function lines(rendered) {
  return rendered.flatMap((nodes, index) => (index ? [h("br"), ...nodes] : nodes));
}

function inline(text, names) {
  const nodes = [];
  let plainText = "";
  const flush = () => {
    if (plainText) nodes.push(document.createTextNode(decode(plainText)));
    plainText = "";
  };
  for (let at = 0; at < text.length; ) {
    const rest = text.slice(at);
    const special = /^`([^`]+)`/.exec(rest) ?? /^<([^<>]+)>/.exec(rest) ?? /^:([a-z0-9_+-]+):/.exec(rest);
    if (special && special[0][0] === "`") {
      flush();
      nodes.push(h("code", {}, decode(special[1])));
      at += special[0].length;
    } else if (special && special[0][0] === "<") {
      flush();
      nodes.push(reference(special[1], names));
      at += special[0].length;
    } else if (special && EMOJI[special[1]]) {
      flush();
      nodes.push(emoji(special[1]));
      at += special[0].length;
    } else {
      const end = MARKS[text[at]] ? closing(text, at) : -1;
      if (end > 0) {
        flush();
        nodes.push(h(MARKS[text[at]], {}, inline(text.slice(at + 1, end), names)));
        at = end + 1;
      } else {
        plainText += text[at];
        at += 1;
      }
    }
  }
  flush();
  return nodes;
}

// Where the mark that opens at `at` closes: marks stand at the edges of words, with no space inside them.
function closing(text, at) {
  const mark = text[at];
  const before = text[at - 1];
  const opens = (before === undefined || EDGE.test(before) || MARKS[before] || before === ">") && /\S/.test(text[at + 1] ?? " ");
  if (!opens || text[at + 1] === mark) return -1;
  for (let end = text.indexOf(mark, at + 1); end > 0; end = text.indexOf(mark, end + 1)) {
    const after = text[end + 1];
    if (/\S/.test(text[end - 1]) && (after === undefined || EDGE.test(after) || MARKS[after] || after === "<")) return end;
  }
  return -1;
}

function reference(inner, names) {
  const [target, label] = divide(inner, "|");
  if (/^@[UW]/.test(target)) return mention(`@${names.user(target.slice(1)) ?? label ?? target.slice(1)}`);
  if (/^#[CG]/.test(target)) return mention(`#${names.channel(target.slice(1)) ?? label ?? target.slice(1)}`);
  if (target.startsWith("!date^")) return date(target.split("^"), label, names.now());
  if (/^!(channel|here|everyone)/.test(target)) return mention(`@${target.slice(1)}`, "loud");
  if (target.startsWith("!")) return mention(label ?? target);
  return link(decode(target), decode(label ?? target));
}

function divide(text, mark) {
  const at = text.indexOf(mark);
  return at < 0 ? [text, null] : [text.slice(0, at), text.slice(at + 1)];
}

/** A name that was called. */
export function mention(text, kind = "person") {
  return h(`span.mention.${kind}`, {}, text);
}

function date([, seconds, format, address], fallback, now) {
  const title = decode(fallback ?? "");
  const text = Number.isFinite(Number(seconds)) ? formatDate(Number(seconds), format ?? "", now) : title;
  const time = h("time", {datetime: new Date(Number(seconds) * 1000 || 0).toISOString(), title}, text);
  if (!address) return time;
  const anchor = link(address, "");
  if (anchor.nodeType === Node.TEXT_NODE) return time;
  anchor.append(time);
  return anchor;
}

/** Slack's date format, in the reader's own time zone; `now` is the world's time, in seconds too. */
export function formatDate(seconds, format, now) {
  const moment = new Date(seconds * 1000);
  const say = (options) => new Intl.DateTimeFormat(undefined, options).format(moment);
  const long = {weekday: "long", year: "numeric", month: "long", day: "numeric"};
  const short = {year: "numeric", month: "short", day: "numeric"};
  const days = Math.round((startOfDay(moment) - startOfDay(new Date(now * 1000))) / 86400000);
  const pretty = (options) => ({0: "today", 1: "tomorrow", [-1]: "yesterday"})[days] ?? say(options);
  return format.replace(/\{([a-z_]+)\}/g, (whole, name) => {
    switch (name) {
      case "date_num": return moment.toISOString().slice(0, 10);
      case "date": return say({year: "numeric", month: "long", day: "numeric"});
      case "date_short": return say(short);
      case "date_long": return say(long);
      case "date_pretty": return pretty({year: "numeric", month: "long", day: "numeric"});
      case "date_short_pretty": return pretty(short);
      case "date_long_pretty": return pretty(long);
      case "time": return say({hour: "2-digit", minute: "2-digit"});
      case "time_secs": return say({hour: "2-digit", minute: "2-digit", second: "2-digit"});
      case "ago": return ago(seconds - now);
      default: return whole;
    }
  });
}

const startOfDay = (moment) => new Date(moment.getFullYear(), moment.getMonth(), moment.getDate()).getTime();

function ago(away) {
  const [size, unit] = Math.abs(away) < 3600 ? [60, "minute"] : Math.abs(away) < 86400 ? [3600, "hour"] : [86400, "day"];
  return new Intl.RelativeTimeFormat(undefined, {numeric: "auto"}).format(Math.round(away / size), unit);
}
