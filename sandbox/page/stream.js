// Messages: a channel's, or a thread's.

import {blocks} from "./blocks.js";
import {h} from "./dom.js";
import {formatDate, mrkdwn} from "./mrkdwn.js";

const EXAMPLE = '/m365 reset-password adele@contoso.com --reason "locked out"';

/** Somebody's initials on their own colour. */
export function face(person) {
  const name = person?.real_name ?? "?";
  const initials = name.split(/\s+/).map((word) => word[0]).slice(0, 2).join("");
  const hue = [...(person?.id ?? name)].reduce((sum, letter) => (sum * 31 + letter.charCodeAt(0)) % 360, 7);
  const app = person?.name === "latchkey";
  const element = h(`span.face${app ? ".app" : ""}`, {"aria-hidden": "true"}, app ? "" : initials);
  element.style.setProperty("--hue", hue);
  return element;
}

/** What a channel shows: top-level messages with the way into their threads, in the order of time. */
export function messageItems(messages, context) {
  const shown = messages.filter((message) => !message.thread_ts || message.broadcast);
  return dated(shown, context, (message) => messages.filter((reply) => reply.thread_ts === message.ts && !reply.deleted));
}

/** What the thread pane shows: the message and its replies. */
export function threadItems(messages, parent, context) {
  return dated([parent, ...messages.filter((reply) => reply.thread_ts === parent.ts)], context, () => []);
}

function dated(messages, context, repliesTo) {
  const items = [];
  let day = "";
  let previous = null;
  for (const message of messages) {
    const today = formatDate(Number(message.ts), "{date_long_pretty}", context.names.now());
    if (today !== day) {
      const label = today;
      items.push({key: `day ${label}`, mark: label, build: () => h("p.day", {}, h("span", {}, label))});
    }
    const replies = repliesTo(message);
    const follows = today === day && previous?.user === message.user && !message.to && !previous.to && Number(message.ts) - Number(previous.ts) < 300 && ![message, previous].some((one) => one.blocks.length || one.files.length);
    items.push({
      key: message.ts,
      // The day of reading counts: what was "today" is drawn anew when it has become "yesterday".
      mark: JSON.stringify([message, replies.length, replies.at(-1)?.ts, follows, new Date(context.names.now() * 1000).toDateString()]),
      build: () => draw(message, replies, follows, context),
    });
    day = today;
    previous = message;
  }
  if (!items.length) items.push({key: "empty", mark: "", build: () => h("p.empty", {}, "Nothing here yet. Type / to see what Latchkey understands, or try ", h("code", {}, EXAMPLE), ".")});
  return items;
}

function fileCard(file, context) {
  const size = file.size < 1024 ? `${file.size} bytes` : `${(file.size / 1024).toFixed(1)} kB`;
  return h("button.file", {type: "button", onclick: () => context.download(file)}, h("strong", {}, file.title), h("span.description", {}, `Download ${file.name}, ${size}`));
}

function draw(message, replies, follows, context) {
  const author = context.people.get(message.user);
  const now = context.names.now();
  const time = formatDate(Number(message.ts), "{time}", now);
  const content = message.deleted
    ? h("p.gone", {}, "This message was deleted.")
    : message.blocks.length
      ? blocks(message.blocks, context.surface(message))
      : message.text && h("div.text", {}, mrkdwn(message.text, context.names));
  const threadButton =
    replies.length > 0 &&
    h(
      "button.replies",
      {type: "button", onclick: () => context.openThread(message.ts)},
      `${replies.length} ${replies.length === 1 ? "reply" : "replies"}`,
      h("span.last", {}, `last at ${formatDate(Number(replies.at(-1).ts), "{time}", now)}`),
    );
  return h(
    `article.message${message.to ? ".ephemeral" : ""}${follows ? ".follows" : ""}`,
    {"aria-label": `${author?.real_name ?? message.user}, ${time}`},
    face(author),
    h(
      "div.message-body",
      {},
      h(
        "p.byline",
        {},
        h("strong", {}, author?.real_name ?? message.user),
        author?.is_bot && h("span.tag", {}, "app"),
        h("time", {datetime: new Date(Number(message.ts) * 1000).toISOString()}, time),
        message.to && h("span.only-you", {}, "Only visible to you"),
      ),
      message.broadcast && h("p.broadcast", {}, "replied to a thread"),
      content,
      message.files.length > 0 && h("ul.files", {}, message.files.map((file) => h("li", {}, fileCard(file, context)))),
      message.edited && h("span.edited", {}, "(edited)"),
      threadButton,
    ),
  );
}
