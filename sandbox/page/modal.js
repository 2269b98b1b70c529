// The bot's forms, as dialogs. The browser keeps the focus inside an open dialog.

import {blocks} from "./blocks.js";
import {fill, freshId, h} from "./dom.js";
import {plain} from "./mrkdwn.js";

/** The one dialog of the page. `does` has submit(control, view, filled) and close(view). */
export class ModalDialog {
  #does;
  #dialog = h("dialog.modal", {oncancel: (event) => this.#close(event)});
  #view = null;
  #inputs = new Map();
  #mark = "";
  #returnTo = null;

  constructor(does) {
    this.#does = does;
    document.body.append(this.#dialog);
  }

  /** Show this view, or nothing. What was typed stays where block and action ids stay the same. */
  draw(view, surface) {
    if (!view) return this.#hide();
    const mark = JSON.stringify([view.id, view.hash, view.errors, view.notice]);
    if (mark === this.#mark) return;
    const same = this.#view?.id === view.id;
    const held = same ? this.#filled() : {};
    const focus = same ? this.#focus() : null;
    [this.#view, this.#mark, this.#inputs] = [view, mark, new Map()];
    const remembered = (key) => {
      const [block, action] = key.split(" ");
      return held[block]?.[action] ?? view.values[block]?.[action];
    };
    const form = {inputs: this.#inputs, before: remembered, problem: (block) => view.errors[block], filled: () => this.#filled()};
    this.#build(view, surface(view, form));
    if (!this.#dialog.open) {
      this.#returnTo = document.activeElement;
      this.#dialog.showModal();
    }
    this.#focusOn(focus);
  }

  #build(view, surface) {
    const title = freshId("modal");
    this.#dialog.setAttribute("aria-labelledby", title);
    const submit = view.submit && h("button.button.primary", {type: "button", onclick: () => this.#does.submit(submit, view, this.#filled())}, plain(view.submit));
    const close = (words) => ({type: "button", onclick: () => this.#does.close(view), ...words});
    fill(
      this.#dialog,
      h(
        "header",
        {},
        h("span.badge", {"aria-hidden": "true"}),
        h("h2", {id: title, tabindex: -1}, plain(view.title)),
        h("button.icon", close({"aria-label": "Close"}), "✕"),
      ),
      h("div.modal-body", {}, view.notice && h("p.problem", {role: "alert"}, view.notice), blocks(view.blocks, surface)),
      h("footer", {}, h("button.button", close({}), plain(view.close || (submit ? "Cancel" : "Close"))), submit),
    );
  }

  /** What the form holds, as Slack reports it: block id, action id, value. */
  #filled() {
    const filled = {};
    for (const [key, read] of this.#inputs) {
      const [block, action] = key.split(" ");
      (filled[block] ??= {})[action] = read();
    }
    return filled;
  }

  #fields = () => [...this.#dialog.querySelectorAll("input, select, textarea, button, h2")];

  #focus() {
    const focused = document.activeElement;
    const at = this.#fields().indexOf(focused);
    return at < 0 ? null : {at, tag: focused.tagName, start: focused.selectionStart ?? null, end: focused.selectionEnd};
  }

  #focusOn(focus) {
    const first = this.#dialog.querySelector(".modal-body :is(input, select, textarea)") ?? this.#dialog.querySelector("h2");
    const before = focus && this.#fields()[focus.at];
    const same = before && before.tagName === focus.tag && before.tagName !== "H2";
    const wrong = this.#dialog.querySelector("[aria-invalid]");
    (wrong ?? (same ? before : first)).focus();
    if (!wrong && same && focus.start !== null) before.setSelectionRange(focus.start, focus.end);
  }

  #close(event) {
    // Esc asks the workspace to close the form; it goes when the workspace says that it is closed.
    event.preventDefault();
    if (this.#view) this.#does.close(this.#view);
  }

  #hide() {
    if (!this.#view) return;
    [this.#view, this.#mark, this.#inputs] = [null, "", new Map()];
    this.#dialog.close();
    fill(this.#dialog);
    if (this.#returnTo?.isConnected) this.#returnTo.focus();
  }
}
