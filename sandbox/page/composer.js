// The line one types in, with the app's slash commands to pick from.

import {fill, h} from "./dom.js";

/** `send(text)` resolves to something when the line was taken. */
export class Composer {
  #form;
  #box;
  #list;
  #send;
  #commands = [];
  #offered = [];
  #active = -1;

  constructor(form, send) {
    [this.#form, this.#send] = [form, send];
    this.#box = form.querySelector("textarea");
    this.#list = form.querySelector("ul");
    form.addEventListener("submit", (event) => {
      event.preventDefault();
      this.#say();
    });
    this.#box.addEventListener("input", () => this.#suggest());
    this.#box.addEventListener("blur", () => this.#offer([]));
    this.#box.addEventListener("keydown", (event) => this.#key(event));
  }

  /** Type into the place of this name from now on. */
  aim(name, commands) {
    this.#commands = commands;
    this.#box.placeholder = `Message ${name} or type /`;
  }

  async #say() {
    const text = this.#box.value.trim();
    if (!text) return;
    this.#box.value = "";
    this.#suggest();
    if ((await this.#send(text)) === null && this.#box.value === "") this.#box.value = text;
  }

  #key(event) {
    if (event.isComposing) return;
    const offering = this.#offered.length > 0;
    if (offering && event.key === "ArrowDown") this.#move(1);
    else if (offering && event.key === "ArrowUp") this.#move(-1);
    else if (offering && (event.key === "Tab" || (event.key === "Enter" && this.#active >= 0))) this.#take(Math.max(this.#active, 0));
    else if (offering && event.key === "Escape") this.#offer([]);
    else if (event.key === "Enter" && !event.shiftKey) this.#say();
    else return;
    event.preventDefault();
  }

  #suggest() {
    this.#box.style.height = "auto";
    this.#box.style.height = `${Math.min(this.#box.scrollHeight, 160)}px`;
    const typed = this.#box.value;
    this.#offer(/^\/\S*$/.test(typed) ? this.#commands.filter((command) => command.command.startsWith(typed)) : []);
  }

  #offer(commands) {
    [this.#offered, this.#active] = [commands, -1];
    fill(
      this.#list,
      commands.map((command, at) =>
        h(
          "li",
          {id: `command-${at}`, role: "option", "aria-selected": "false", onmousedown: (event) => (event.preventDefault(), this.#take(at))},
          h("strong", {}, command.command),
          " ",
          h("span.hint", {}, command.usage_hint ?? ""),
          h("span.description", {}, command.description),
        ),
      ),
    );
    this.#list.hidden = commands.length === 0;
    this.#box.setAttribute("aria-expanded", String(commands.length > 0));
    this.#box.removeAttribute("aria-activedescendant");
  }

  #move(step) {
    this.#list.children[this.#active]?.setAttribute("aria-selected", "false");
    this.#active = (this.#active + step + this.#offered.length) % this.#offered.length;
    this.#list.children[this.#active].setAttribute("aria-selected", "true");
    this.#box.setAttribute("aria-activedescendant", `command-${this.#active}`);
  }

  #take(at) {
    this.#box.value = `${this.#offered[at].command} `;
    this.#offer([]);
    this.#box.focus();
  }
}
