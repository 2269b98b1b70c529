// The page: what is looked at, the loop that keeps it up to date, and everything a person can do.
//
// The server sends the whole workspace as one person sees it whenever something changes ("snapshot");
// this file draws it. What it draws with: stream.js messages, modal.js forms, composer.js the line one
// types in, world.js the panel below.

import {Refused, get, getFile, post} from "./api.js";
import {blocks} from "./blocks.js";
import {Composer} from "./composer.js";
import {fill, h, reconcile} from "./dom.js";
import {ModalDialog} from "./modal.js";
import {face, messageItems, threadItems} from "./stream.js";
import {WorldPanel} from "./world.js";

const $ = (id) => document.getElementById(id);

const look = {
  person: new URLSearchParams(location.search).get("as") ?? "olive",
  place: null, // a channel's id, or "home"
  thread: null, // the ts of its first message
};
let snapshot = null;
let names = null;
let listening = new AbortController();
const seen = new Map(); // "person channel" -> the newest ts that person has had on screen

// Doing.

/** Tell the person something that is not part of the workspace. */
export function toast(sentence) {
  const note = h("p.toast", {}, sentence, h("button.icon", {type: "button", "aria-label": "Dismiss", onclick: () => note.remove()}, "✕"));
  $("toasts").append(note);
  setTimeout(() => note.remove(), 8000);
}

/** Do something, show on `control` that it is under way, and say so when the bot does not answer. */
async function act(control, path, body) {
  if (control?.getAttribute("aria-busy") === "true") return null;
  control?.setAttribute("aria-busy", "true");
  try {
    const answer = await post(path, {person: look.person, ...body});
    if (answer.notice) toast(answer.notice);
    return answer;
  } catch (error) {
    toast(error instanceof Refused ? error.message : "The sandbox does not answer. Is it still running?");
    return null;
  } finally {
    control?.removeAttribute("aria-busy");
  }
}

/** What blocks stand on: see blocks.js. `where` says to the server which message or view it is. */
function surface(where, form = {}) {
  return {
    names,
    inputs: form.inputs ?? null,
    before: form.before ?? (() => undefined),
    problem: form.problem ?? (() => undefined),
    press: (control, block, element, chosen) =>
      act(control, "/api/use", {
        where,
        block_id: block.block_id,
        action_id: element.action_id,
        value: element.value ?? "",
        chosen,
        filled: form.filled?.() ?? {},
      }),
    async options(block, element, typed) {
      const answer = await act(null, "/api/options", {where, block_id: block.block_id, action_id: element.action_id, typed});
      return answer?.options ?? [];
    },
  };
}

// Looking.

function namesOf(shot) {
  const people = new Map(shot.people.map((person) => [person.id, person.real_name]));
  const channels = new Map(shot.channels.map((channel) => [channel.id, channel.name]));
  const ahead = shot.clock.now - Date.now() / 1000;
  return {
    user: (id) => people.get(id),
    channel: (id) => channels.get(id),
    now: () => Date.now() / 1000 + ahead,
    everyone: () => shot.people.filter((person) => !person.deleted && person.name !== "slackbot").map((person) => [person.id, person.real_name]),
    everywhere: (part) => shot.channels.filter((channel) => isOffered(part, channel)).map((channel) => [channel.id, channel.is_im ? channel.label : `#${channel.name}`]),
  };
}

/** Whether a menu of conversations offers this one, as the sandbox's own rule in controls.py has it. */
function isOffered(part, channel) {
  const kind = channel.is_im ? "im" : channel.is_private ? "private" : "public";
  if (part.type.endsWith("channels_select")) return kind === "public";
  const {include, exclude_external_shared_channels: internalOnly} = part.filter ?? {};
  return (include ?? [kind]).includes(kind) && !(internalOnly && channel.is_ext_shared);
}

function note(channel) {
  if (channel.is_im) return channel.has_bot ? "Only you and Latchkey" : "A conversation of two people";
  if (channel.is_archived) return "Archived";
  if (channel.is_ext_shared) return "Shared with another company";
  return channel.has_bot ? "Latchkey is here" : "Latchkey is not in this channel";
}

function place() {
  return snapshot.channels.find((channel) => channel.id === look.place);
}

function go(where, thread = null) {
  look.place = where;
  look.thread = thread;
  document.body.classList.remove("rail-open");
  $("show-rail").setAttribute("aria-expanded", "false");
  if (where === "home") act(null, "/api/home", {});
  draw();
  $("place-name").focus({preventScroll: true});
  toEnd($("stream"));
}

function openThread(ts) {
  look.thread = ts;
  draw();
  toEnd($("replies"));
  $("thread").querySelector("h2").focus({preventScroll: true});
}

function draw() {
  if (!snapshot) return;
  if (look.place !== "home" && !place()) look.place = snapshot.channels[0]?.id ?? "home";
  drawTop();
  drawPlace();
  drawThread();
  drawRail();
  modal.draw(snapshot.modal, (view, form) => surface({view: view.id}, form), names);
  world.draw(snapshot, names);
}

function drawTop() {
  const me = snapshot.people.find((person) => person.id === snapshot.me);
  const named = new Map(snapshot.people.map((person) => [person.name, person.real_name]));
  $("my-face").replaceWith(Object.assign(face(me), {id: "my-face"}));
  reconcile(
    $("person"),
    snapshot.players.map(({name, role}) => ({
      key: name,
      mark: role,
      build: () => h("option", {value: name}, `${named.get(name)} – ${role}`),
    })),
  );
  $("person").value = me.name;
  document.title = `${me.real_name} · Latchkey sandbox`;
}

const newest = (channel) => channel.messages.at(-1)?.ts ?? "";
const seenKey = (channel) => `${look.person} ${channel.id}`;

function drawRail() {
  for (const channel of snapshot.channels) {
    if (channel.id === look.place || !seen.has(seenKey(channel))) seen.set(seenKey(channel), newest(channel));
  }
  const entry = (key, sign, label, note, unread) => ({
    key,
    mark: JSON.stringify([look.place === key, unread, label]),
    build: () =>
      h(
        "button.rail-entry",
        {type: "button", "aria-current": look.place === key ? "page" : null, title: note, onclick: () => go(key)},
        h(`span.sign${sign ? "" : ".private"}`, {"aria-hidden": "true"}, sign),
        h("span.rail-label", {}, label),
        unread && h("span.unread", {}, h("span.hidden", {}, "unread")),
      ),
  });
  const channelEntry = (channel) =>
    entry(channel.id, channel.is_im ? "●" : channel.is_private ? "" : "#", channel.label, note(channel), newest(channel) > seen.get(seenKey(channel)));
  const groups = [
    ["Channels", snapshot.channels.filter((channel) => !channel.is_im).map(channelEntry)],
    ["Direct messages", snapshot.channels.filter((channel) => channel.is_im).map(channelEntry)],
    ["Apps", [entry("home", "⌂", "Latchkey home", "App Home", false)]],
  ];
  reconcile(
    $("rail"),
    groups
      .filter(([, entries]) => entries.length)
      .map(([title, entries]) => ({
        key: title,
        mark: JSON.stringify(entries.map((item) => [item.key, item.mark])),
        build: () => h("section", {}, h("h2", {}, title), entries.map((item) => item.build())),
      })),
  );
}

function drawPlace() {
  const home = look.place === "home";
  const channel = home ? null : place();
  const name = home ? "Latchkey home" : channel.is_im ? channel.label : `#${channel.label}`;
  $("place-name").textContent = name;
  $("place-note").textContent = home ? "App Home" : note(channel);
  $("stream").hidden = home;
  $("composer").hidden = home;
  $("home").hidden = !home;
  if (home) drawHome();
  else drawStream($("stream"), messageItems(channel.messages, context(channel)), `${look.person} ${channel.id}`);
  composer.aim(name, snapshot.commands);
}

function drawThread() {
  const channel = look.place === "home" ? null : place();
  const parent = look.thread && channel?.messages.find((message) => message.ts === look.thread);
  $("thread").hidden = !parent;
  document.body.classList.toggle("thread-open", Boolean(parent));
  if (parent) drawStream($("replies"), threadItems(channel.messages, parent, context(channel)), `${look.person} ${channel.id} ${parent.ts}`);
}

/** Draw messages and stay at the end if one was there. A different `subject` starts at the end, and is not read aloud. */
function drawStream(stream, items, subject) {
  const moved = stream.dataset.subject !== subject;
  const atEnd = moved || wasAtEnd(stream);
  stream.setAttribute("aria-live", moved ? "off" : "polite");
  stream.dataset.subject = subject;
  if (moved) stream.replaceChildren();
  reconcile(stream, items);
  if (atEnd) toEnd(stream);
  measure(stream);
}

// Whether the end was in sight is judged by the heights of then: a stream that has just become lower still shows its old place.
const heights = new WeakMap();
const measure = (stream) => heights.set(stream, {scrollHeight: stream.scrollHeight, clientHeight: stream.clientHeight});
const toEnd = (stream) => (stream.scrollTop = stream.scrollHeight);

function wasAtEnd(stream) {
  const {scrollHeight, clientHeight} = heights.get(stream) ?? stream;
  return scrollHeight - stream.scrollTop - clientHeight < 80;
}

/** Whoever reads the newest message goes on reading it when the room for it changes: a thread or the panel opens. */
function keepEnd(stream) {
  const resized = () => {
    if (wasAtEnd(stream)) toEnd(stream);
    measure(stream);
  };
  new ResizeObserver(resized).observe(stream);
}

function context(channel) {
  return {
    people: new Map(snapshot.people.map((person) => [person.id, person])),
    names,
    openThread,
    surface: (message) => surface({channel: channel.id, ts: message.ts}, {before: (key) => valueIn(message.values, key)}),
    download: (file) => download(file),
  };
}

/** What the workspace holds under a field's key. */
function valueIn(values, key) {
  const [block, action] = key.split(" ");
  return values[block]?.[action];
}

async function download({id, name}) {
  try {
    const address = URL.createObjectURL(await getFile("/api/file", {person: look.person, id}));
    h("a", {href: address, download: name}).click();
    setTimeout(() => URL.revokeObjectURL(address), 60_000);
  } catch (error) {
    toast(error.message);
  }
}

/** Values under "block action" keys as Slack nests them. */
function nested(entries) {
  const values = {};
  for (const [key, value] of entries) {
    const [block, action] = key.split(" ");
    (values[block] ??= {})[action] = value;
  }
  return values;
}

let homeForm = {id: null, inputs: new Map()};

function drawHome() {
  const view = snapshot.home;
  const mark = view ? `${view.id} ${view.hash}` : "none";
  if ($("home").dataset.mark === mark) return;
  $("home").dataset.mark = mark;
  if (!view) return fill($("home"), h("p.empty", {}, "Latchkey has not published a home for this person yet."));
  const held = homeForm.id === view.id ? new Map([...homeForm.inputs].map(([key, read]) => [key, read()])) : new Map();
  const inputs = new Map();
  homeForm = {id: view.id, inputs};
  const form = {
    inputs,
    before: (key) => held.get(key) ?? valueIn(view.values, key),
    filled: () => nested([...inputs].map(([key, read]) => [key, read()])),
  };
  fill($("home"), blocks(view.blocks, surface({view: view.id}, form)));
}

// Starting.

keepEnd($("stream"));
keepEnd($("replies"));

const modal = new ModalDialog({
  submit: (control, view, filled) => act(control, "/api/submit", {where: {view: view.id}, filled}),
  close: () => act(null, "/api/close", {}),
});

const composer = new Composer($("composer"), (text) => {
  toEnd($("stream")); // the answer comes there
  return act($("composer").querySelector("button"), "/api/say", {channel: look.place, text});
});

const world = new WorldPanel($("world"), {
  do: (control, path, body) => act(control, path, body),
  read: (path) => get(path, {}),
});

$("person").addEventListener("change", () => {
  look.person = $("person").value;
  look.thread = null;
  history.replaceState(null, "", `?as=${encodeURIComponent(look.person)}`);
  listening.abort();
});
$("close-thread").addEventListener("click", () => {
  look.thread = null;
  draw();
});
$("show-rail").addEventListener("click", () => {
  const open = document.body.classList.toggle("rail-open");
  $("show-rail").setAttribute("aria-expanded", String(open));
});
document.addEventListener("keydown", (event) => {
  if (event.key !== "Escape" || event.defaultPrevented || document.querySelector("dialog[open]")) return;
  if (document.body.classList.contains("rail-open")) $("show-rail").click();
  else if (look.thread) $("close-thread").click();
});

/** The next snapshot that is newer than this version, or null if there is none to be had now. */
async function next(person, version) {
  try {
    const fresh = await get("/api/snapshot", {person, after: version}, listening.signal);
    $("offline").textContent = "";
    return fresh;
  } catch (error) {
    if (error.name === "AbortError") return null;
    if (error instanceof Refused && !snapshot) {
      toast(error.message);
      look.person = "olive"; // the address named somebody who is not here
    } else $("offline").textContent = error instanceof Refused ? error.message : "The sandbox does not answer. This page goes on when it is back.";
    await new Promise((resume) => setTimeout(resume, 2000));
    return null;
  }
}

async function listen() {
  let version = -1;
  let person = null;
  for (;;) {
    if (person !== look.person) [person, version, listening] = [look.person, -1, new AbortController()];
    const fresh = await next(person, version);
    if (!fresh) version = -1; // whatever is there now is the answer, not what comes next
    if (!fresh || person !== look.person) continue;
    ({version} = fresh);
    [snapshot, names] = [fresh, namesOf(fresh)];
    await letGo;
    try {
      draw();
    } catch (error) {
      console.error(error); // one thing that cannot be drawn must not end the listening
    }
  }
}

// A button that is drawn anew while it is held down is not clicked: what is new waits until it is let go.
let letGo = null;
document.addEventListener(
  "pointerdown",
  ({target}) => {
    if (!target.closest("button")) return;
    letGo = new Promise((resolve) => {
      for (const end of ["pointerup", "pointercancel", "blur"]) addEventListener(end, () => setTimeout(resolve), {once: true});
    });
  },
  {capture: true},
);

listen();
