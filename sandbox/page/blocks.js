// Block Kit as DOM nodes, for messages, modals and App Home alike.
//
// `surface` is what the blocks live on:
//   names              user(id), channel(id), now(), everyone(), everywhere(part) with what a menu offers
//   press(control, block, element, chosen)   somebody used an element that tells the bot at once
//   options(block, element, typed)           the bot's options for an external select
//   inputs             null, or a Map that fields put their reader into, under "block_id action_id"
//   before(key)        what a field with that key held before the blocks were drawn again, or undefined
//   problem(block_id)  what is wrong with a field, or undefined

import {confirm} from "./confirm.js";
import {freshId, h} from "./dom.js";
import {emoji, emojis, formatDate, link, mention, mrkdwn, plain} from "./mrkdwn.js";

const TASK_STATES = {
  pending: ["○", "Waiting"],
  in_progress: ["◐", "In progress"],
  complete: ["✓", "Done"],
  error: ["✕", "Failed"],
};

/** The elements of a list of blocks. */
export function blocks(list, surface) {
  return (list ?? []).map((block) => {
    const element = (BLOCKS[block.type] ?? unknown)(block, surface);
    element.dataset.block = block.type;
    return element;
  });
}

const unknown = (block) => h("p.unknown", {}, `A ${block.type} block, which this page does not draw`);

const BLOCKS = {
  header: (block) => h("h3.block-header", {}, plain(block.text.text)),
  divider: () => h("hr"),
  section(block, surface) {
    return h(
      "div.section",
      {},
      h(
        "div.section-body",
        {},
        block.text && h("div.text", {}, text(block.text, surface)),
        block.fields && h("div.fields", {}, block.fields.map((field) => h("div.field", {}, text(field, surface)))),
      ),
      block.accessory && h("div.accessory", {}, element(block.accessory, block, surface)),
    );
  },
  context(block, surface) {
    const parts = block.elements.map((part) =>
      part.type === "image" ? image(part, "context-image") : h("span", {}, text(part, surface)),
    );
    return h("div.context", {}, parts);
  },
  actions: (block, surface) => h("div.actions", {}, block.elements.map((part) => element(part, block, surface))),
  image: (block) => h("figure", {}, block.title && h("figcaption", {}, plain(block.title.text)), image(block, "picture")),
  rich_text: (block, surface) => h("div.rich-text", {}, block.elements.map((part) => rich(part, surface))),
  markdown: (block) => h("div.text", {}, plain(block.text)),
  plan(block, surface) {
    const list = h("ol.tasks", {}, (block.tasks ?? []).map((task) => h("li", {}, taskCard(task, surface))));
    const title = typeof block.title === "string" ? emojis(block.title) : text(block.title, surface);
    return h("details.plan", {open: true}, h("summary", {}, title), list);
  },
  task_card: (block, surface) => taskCard(block, surface),
  table(block, surface) {
    const [head, ...rows] = block.rows;
    const align = (column) => block.column_settings?.[column]?.align ?? "left";
    const cells = (row, tag) => row.map((cell, column) => h(`${tag}.${align(column)}`, {}, tableCell(cell, surface)));
    const table = h("table", {}, h("thead", {}, h("tr", {}, cells(head, "th"))));
    table.append(h("tbody", {}, rows.map((row) => h("tr", {}, cells(row, "td")))));
    // Wide tables scroll by themselves, with the keyboard too.
    return h("div.table", {tabindex: 0, role: "region", "aria-label": "Table"}, table);
  },
  input(block, surface) {
    const problem = surface.problem(block.block_id);
    const control = element(block.element, block, surface);
    const field = control.matches("[data-field]") ? control : (control.querySelector("[data-field]") ?? control);
    field.id ||= freshId("field");
    const hint = block.hint && h("p.hint", {id: freshId("hint")}, plain(block.hint.text));
    const error = problem && h("p.problem", {id: freshId("problem"), role: "alert"}, problem);
    const described = [hint, error].filter(Boolean).map((note) => note.id).join(" ");
    if (described) field.setAttribute("aria-describedby", described);
    if (problem) field.setAttribute("aria-invalid", "true");
    const optional = block.optional && h("span.optional", {}, " (optional)");
    const grouped = field.getAttribute("role") === "group" || field.getAttribute("role") === "radiogroup";
    const label = h(grouped ? "span.label" : "label.label", grouped ? {id: freshId("label")} : {for: field.id}, plain(block.label.text), optional);
    if (grouped) field.setAttribute("aria-labelledby", label.id);
    if (!block.optional) field.setAttribute("aria-required", "true");
    return h("div.input", {}, label, control, hint, error);
  },
};

// Texts.

function text(object, surface) {
  return object.type === "mrkdwn" ? mrkdwn(object.text, surface.names) : plain(object.text, object.emoji !== false);
}

function image(object, kind) {
  // Nothing is fetched from elsewhere: the page's policy allows images of its own only.
  const local = object.image_url?.startsWith("data:image/");
  return local
    ? h(`img.${kind}`, {src: object.image_url, alt: object.alt_text})
    : h(`span.${kind}.absent`, {role: "img", "aria-label": object.alt_text}, object.alt_text);
}

function tableCell(cell, surface) {
  if (cell.type === "rich_text") return cell.elements.map((part) => rich(part, surface));
  return plain(String(cell.text ?? cell.value ?? ""));
}

function taskCard(task, surface) {
  const [mark, words] = TASK_STATES[task.status] ?? TASK_STATES.pending;
  const detail = (object, kind) => object && h(`div.${kind}`, {}, object.elements.map((part) => rich(part, surface)));
  const sources = (task.sources ?? []).map((source) => link(source.url, source.text ?? source.url));
  return h(
    `div.task.${TASK_STATES[task.status] ? task.status : "pending"}`,
    {},
    h("span.task-mark", {"aria-hidden": "true"}, mark),
    h(
      "div.task-body",
      {},
      h("div.task-title", {}, emojis(task.title), h("span.task-state", {}, words)),
      detail(task.details, "task-details"),
      detail(task.output, "task-output"),
      sources.length > 0 && h("div.task-sources", {}, sources),
    ),
  );
}

function rich(part, surface) {
  const inside = () => part.elements.flatMap((piece) => richInline(piece, surface));
  switch (part.type) {
    case "rich_text_section":
      return h("div", {}, inside());
    case "rich_text_preformatted":
      return h("pre", {}, part.elements.map((piece) => piece.text ?? piece.url ?? ""));
    case "rich_text_quote":
      return h("blockquote", {}, inside());
    case "rich_text_list": {
      const list = h(part.style === "ordered" ? "ol.rich-list" : "ul.rich-list", {}, part.elements.map((item) => h("li", {}, rich(item, surface))));
      list.dataset.indent = part.indent ?? 0;
      return list;
    }
    default:
      return unknown(part);
  }
}

function richInline(piece, surface) {
  switch (piece.type) {
    case "text":
      return styled(plain(piece.text, false), piece.style);
    case "link":
      return styled([link(piece.url, piece.text ?? piece.url)], piece.style);
    case "emoji":
      return [emoji(piece.name)];
    case "user":
      return [mention(`@${surface.names.user(piece.user_id) ?? piece.user_id}`)];
    case "channel":
      return [mention(`#${surface.names.channel(piece.channel_id) ?? piece.channel_id}`)];
    case "broadcast":
      return [mention(`@${piece.range}`, "loud")];
    case "date":
      return [h("time", {title: piece.fallback}, formatDate(piece.timestamp, piece.format, surface.names.now()))];
    default:
      return [document.createTextNode(piece.text ?? "")];
  }
}

function styled(nodes, style = {}) {
  const tags = [["code", "code"], ["bold", "strong"], ["italic", "em"], ["strike", "s"]];
  return tags.reduce((inner, [name, tag]) => (style[name] ? [h(tag, {}, inner)] : inner), nodes);
}

// Elements. A field of a form waits for submit; anywhere else, and where a form's field says so, a choice is told at once.

function element(part, block, surface) {
  return (ELEMENTS[part.type] ?? unknown)(part, block, surface);
}

const keyOf = (block, part) => `${block.block_id ?? ""} ${part.action_id ?? ""}`;

/** Put a field under `inputs` and return what it should hold: what it held before, else what the bot says. */
function field(block, part, surface, read, initial) {
  const key = keyOf(block, part);
  surface.inputs?.set(key, () => ({type: part.type, ...read()}));
  const before = surface.before(key);
  return before === undefined ? initial : before;
}

const tells = (block) => block.type !== "input" || block.dispatch_action === true;

async function tell(control, block, part, surface, chosen) {
  if (!tells(block)) return;
  if (part.confirm && !(await confirm(part.confirm, surface.names))) return;
  await surface.press(control, block, part, chosen);
}

function button(part, block, surface) {
  const style = part.style === "primary" || part.style === "danger" ? `.${part.style}` : "";
  const attributes = {"aria-label": part.accessibility_label};
  const words = plain(part.text.text);
  if (!part.url) {
    const control = h(`button.button${style}`, {type: "button", ...attributes, onclick: () => tell(control, block, part, surface, {})}, words);
    return control;
  }
  // A link tells the bot as well; where it asks first, it waits for the answer.
  let agreed = false;
  const onclick = async (event) => {
    if (!part.confirm || agreed) return surface.press(control, block, part, {});
    event.preventDefault();
    agreed = await confirm(part.confirm, surface.names);
    if (agreed) control.click();
    agreed = false;
  };
  const control = h(`a.button${style}`, {...attributes, ...elsewhere(part.url), onclick}, words);
  return control;
}

/** The attributes of a link to another page, which opens beside this one. */
const elsewhere = (url) => ({href: /^https?:/i.test(url) ? url : null, target: "_blank", rel: "noopener noreferrer"});

const optionsOf = (part) => [...(part.options ?? []), ...(part.option_groups ?? []).flatMap((group) => group.options)];

function select(part, block, surface) {
  const all = optionsOf(part);
  const read = () => ({selected_option: all[control.selectedOptions[0]?.dataset.at] ?? null});
  const held = field(block, part, surface, read, {selected_option: part.initial_option ?? null}).selected_option;
  const isHeld = (option) => option.value === held?.value;
  const choice = (option) =>
    h("option", {"data-at": all.indexOf(option), value: option.value, selected: isHeld(option)}, emojis(option.text.text));
  const groups = part.option_groups?.map((group) => h("optgroup", {label: group.label.text}, group.options.map(choice)));
  const control = h(
    "select",
    // In a form the field's label names it, which an aria-label would hide.
    {"data-field": true, "aria-label": nameOf(part, block), onchange: () => tell(control, block, part, surface, read())},
    h("option", {value: "", disabled: true, hidden: true, selected: !all.some(isHeld)}, part.placeholder?.text ?? "Choose…"),
    groups ?? all.map(choice),
  );
  return control;
}

/** What an element is called where no label of a form does it. */
const nameOf = (part, block) => (block.type === "input" ? null : (part.placeholder?.text ?? (block.text?.text ?? "").slice(0, 80)));

/** Several of many: `entries` are [value as Slack reports it, its id, what is shown]; a list to tick, which scrolls. */
function several(part, block, surface, entries, name) {
  const read = () => ({[`selected_${name}`]: [...control.querySelectorAll("input:checked")].map((input) => entries[Number(input.value)][0])});
  const held = field(block, part, surface, read, {[`selected_${name}`]: part[`initial_${name}`] ?? []})[`selected_${name}`] ?? [];
  const chosen = new Set(held.map((value) => value.value ?? value));
  const most = part.max_selected_items ?? Infinity;
  const changed = () => {
    const full = control.querySelectorAll("input:checked").length >= most;
    for (const input of control.querySelectorAll("input")) input.disabled = full && !input.checked;
  };
  const control = h(
    "div.choices.many",
    {"data-field": true, role: "group", "aria-label": nameOf(part, block), onchange: () => (changed(), tell(control, block, part, surface, read()))},
    entries.map(([, id, label], at) => h("label.choice", {}, h("input", {type: "checkbox", value: String(at), checked: chosen.has(id)}), h("span", {}, label))),
  );
  changed();
  return control;
}

const severalOf = (list) => list.map(([id, label]) => [id, id, label]);

/** A select over people or places of the workspace: its value is an id, not an option. */
function idSelect(part, block, surface, all, name) {
  const read = () => ({[`selected_${name}`]: control.value || null});
  const held = field(block, part, surface, read, {[`selected_${name}`]: part[`initial_${name}`] ?? null});
  const control = h(
    "select",
    {"data-field": true, "aria-label": nameOf(part, block), onchange: () => tell(control, block, part, surface, read())},
    h("option", {value: "", disabled: true, hidden: true, selected: true}, part.placeholder?.text ?? "Choose…"),
    all.map(([id, label]) => h("option", {value: id, selected: id === held[`selected_${name}`]}, label)),
  );
  return control;
}

function choices(part, block, surface, several) {
  const group = freshId("choice");
  const read = () => {
    const picked = [...control.querySelectorAll("input:checked")].map((input) => part.options[Number(input.value)]);
    return several ? {selected_options: picked} : {selected_option: picked[0] ?? null};
  };
  const given = several ? (part.initial_options ?? []) : part.initial_option ? [part.initial_option] : [];
  const held = field(block, part, surface, read, {selected_options: given, selected_option: given[0] ?? null});
  const chosen = new Set((several ? held.selected_options : [held.selected_option]).filter(Boolean).map((option) => option.value));
  const control = h(
    "div.choices",
    {"data-field": true, role: several ? "group" : "radiogroup", onchange: () => tell(control, block, part, surface, read())},
    part.options.map((option, at) =>
      h(
        "label.choice",
        {},
        h("input", {type: several ? "checkbox" : "radio", name: group, value: String(at), checked: chosen.has(option.value)}),
        h("span", {}, text(option.text, surface), option.description && h("span.description", {}, text(option.description, surface))),
      ),
    ),
  );
  return control;
}

function picker(part, block, surface, kind, name) {
  const read = () => ({[name]: control.value || null});
  const held = field(block, part, surface, read, {[name]: part[name.replace("selected", "initial")] ?? null});
  const control = h("input", {"data-field": true, "aria-label": nameOf(part, block), type: kind, value: held[name] ?? "", onchange: () => tell(control, block, part, surface, read())});
  return control;
}

function typed(part, block, surface, kind) {
  const read = () => ({value: control.value === "" ? null : control.value});
  const held = field(block, part, surface, read, {value: part.initial_value ?? null});
  const attributes = {
    "data-field": true,
    placeholder: part.placeholder?.text,
    minlength: part.min_length,
    maxlength: part.max_length,
    value: held.value ?? "",
    onkeydown(event) {
      // A form is never sent by Enter alone; where the bot wants to hear of Enter, it does.
      if (event.key !== "Enter" || (part.multiline && !event.ctrlKey && !event.metaKey)) return;
      event.preventDefault();
      if (block.dispatch_action) tell(control, block, part, surface, read());
    },
  };
  const control = part.multiline ? h("textarea", {...attributes, rows: 4}) : h("input", {...attributes, type: kind, autocomplete: "off"});
  return control;
}

/** Files of this machine; they go to the workspace with the form. */
function files(part, block, surface) {
  let chosen = [];
  const read = () => ({files: chosen});
  chosen = field(block, part, surface, read, {files: []}).files ?? [];
  const names = () => chosen.map((file) => file.name).join(", ");
  const encoded = (file) =>
    new Promise((done, failed) => {
      const reader = new FileReader();
      reader.onload = () => done({name: file.name, content: reader.result.slice(reader.result.indexOf(",") + 1)});
      reader.onerror = () => failed(reader.error);
      reader.readAsDataURL(file);
    });
  const box = h("input", {
    "data-field": true,
    type: "file",
    multiple: (part.max_files ?? 10) > 1,
    accept: (part.filetypes ?? []).map((kind) => `.${kind}`).join(","),
    async onchange() {
      chosen = await Promise.all([...box.files].slice(0, part.max_files ?? 10).map(encoded));
      shown.textContent = names();
    },
  });
  const shown = h("span.description", {"aria-live": "polite"}, names());
  return h("div.file-input", {}, box, shown);
}

/** A search box over options the bot gives while one types (block_suggestion). */
function search(part, block, surface) {
  const listId = freshId("options");
  let chosen = null;
  let offered = [];
  let active = -1;
  let asked = 0;
  const read = () => ({selected_option: chosen});
  chosen = field(block, part, surface, read, {selected_option: part.initial_option ?? null}).selected_option;
  const least = part.min_query_length ?? 3;

  const close = () => {
    active = -1;
    list.hidden = true;
    box.setAttribute("aria-expanded", "false");
    box.removeAttribute("aria-activedescendant");
  };
  const show = (entries) => {
    offered = entries;
    active = -1;
    list.replaceChildren(
      ...(entries.length
        ? entries.map((option, at) =>
            h(
              "li",
              {id: `${listId}-${at}`, role: "option", "aria-selected": "false", onmousedown: (event) => (event.preventDefault(), pick(at))},
              plain(option.text.text),
              option.description && h("span.description", {}, plain(option.description.text)),
            ),
          )
        : [h("li.nothing", {role: "option", "aria-disabled": "true"}, "Nothing found")]),
    );
    list.hidden = false;
    box.setAttribute("aria-expanded", "true");
  };
  const pick = (at) => {
    chosen = offered[at];
    box.value = chosen.text.text;
    close();
    tell(control, block, part, surface, read());
  };
  const move = (step) => {
    if (!offered.length || list.hidden) return;
    list.children[active]?.setAttribute("aria-selected", "false");
    active = (active + step + offered.length) % offered.length;
    list.children[active].setAttribute("aria-selected", "true");
    list.children[active].scrollIntoView({block: "nearest"});
    box.setAttribute("aria-activedescendant", list.children[active].id);
  };
  const ask = async () => {
    const question = (asked += 1);
    if (box.value.trim().length < least) return close();
    const entries = await surface.options(block, part, box.value.trim());
    // Answers may overtake each other; only the one to the latest letters counts.
    if (question === asked && document.activeElement === box) show(entries);
  };
  let pause;
  const box = h("input", {
    "data-field": true,
    type: "text",
    role: "combobox",
    autocomplete: "off",
    "aria-autocomplete": "list",
    "aria-expanded": "false",
    "aria-controls": listId,
    placeholder: part.placeholder?.text ?? "Type to search",
    value: chosen?.text.text ?? "",
    oninput() {
      clearTimeout(pause);
      pause = setTimeout(ask, 150);
    },
    onfocus: () => box.value === "" && least === 0 && ask(),
    onblur() {
      close();
      box.value = chosen?.text.text ?? ""; // what stands here is what will be sent
    },
    onkeydown(event) {
      if (event.key === "ArrowDown") move(1);
      else if (event.key === "ArrowUp") move(-1);
      else if (event.key === "Enter" && active >= 0) pick(active);
      else if (event.key === "Escape" && !list.hidden) close();
      else if (event.key !== "Enter") return;
      event.preventDefault();
      event.stopPropagation();
    },
  });
  const list = h("ul.suggestions", {id: listId, role: "listbox", hidden: true});
  const control = h("div.search", {}, box, list);
  return control;
}

function overflow(part, block, surface) {
  const act = (option) => {
    control.open = false;
    tell(control, block, part, surface, {selected_option: option});
  };
  const item = (option) =>
    h(option.url ? "a" : "button", {...(option.url ? elsewhere(option.url) : {type: "button"}), onclick: () => act(option)}, plain(option.text.text));
  const control = h(
    "details.overflow",
    {
      onkeydown(event) {
        if (event.key !== "Escape" || !control.open) return;
        event.preventDefault(); // a form under it stays open
        event.stopPropagation();
        control.open = false;
        control.querySelector("summary").focus();
      },
      onfocusout: (event) => !control.contains(event.relatedTarget) && (control.open = false),
    },
    h("summary.button", {"aria-label": "More"}, "⋯"),
    h("div.menu", {tabindex: -1}, part.options.map(item)),
  );
  return control;
}

const ELEMENTS = {
  button,
  image: (part) => image(part, "thumbnail"),
  static_select: select,
  multi_static_select: (part, block, surface) =>
    several(part, block, surface, optionsOf(part).map((option) => [option, option.value, emojis(option.text.text)]), "options"),
  external_select: search,
  users_select: (part, block, surface) => idSelect(part, block, surface, surface.names.everyone(), "user"),
  channels_select: (part, block, surface) => idSelect(part, block, surface, surface.names.everywhere(part), "channel"),
  conversations_select: (part, block, surface) => idSelect(part, block, surface, surface.names.everywhere(part), "conversation"),
  multi_users_select: (part, block, surface) => several(part, block, surface, severalOf(surface.names.everyone()), "users"),
  multi_channels_select: (part, block, surface) => several(part, block, surface, severalOf(surface.names.everywhere(part)), "channels"),
  multi_conversations_select: (part, block, surface) => several(part, block, surface, severalOf(surface.names.everywhere(part)), "conversations"),
  radio_buttons: (part, block, surface) => choices(part, block, surface, false),
  checkboxes: (part, block, surface) => choices(part, block, surface, true),
  datepicker: (part, block, surface) => picker(part, block, surface, "date", "selected_date"),
  timepicker: (part, block, surface) => picker(part, block, surface, "time", "selected_time"),
  plain_text_input: (part, block, surface) => typed(part, block, surface, "text"),
  email_text_input: (part, block, surface) => typed(part, block, surface, "email"),
  url_text_input: (part, block, surface) => typed(part, block, surface, "url"),
  file_input: files,
  number_input: (part, block, surface) => typed(part, block, surface, "number"),
  overflow,
};
