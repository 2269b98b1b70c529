// The panel below the workspace: faults, time, the bot's life, and what the other side saw.

import {fill, h, reconcile} from "./dom.js";
import {formatDate} from "./mrkdwn.js";

const MOVES = [
  ["+5 min", 300],
  ["+1 h", 3600],
  ["+8 h", 8 * 3600],
  ["+1 d", 24 * 3600],
];
const TABS = ["faults", "people", "time", "microsoft", "log"];
const SERVICES = {entra: "Entra", graph: "Graph", vault: "Key Vault", slack: "Slack"};

/** `does` has do(control, path, body) and read(path). */
export class WorldPanel {
  #root;
  #does;
  #tab = "faults";
  #open = false;
  #reading = false;
  #stale = false;

  constructor(root, does) {
    [this.#root, this.#does] = [root, does];
    this.#find("show-world").addEventListener("click", () => this.#toggle());
    for (const tab of TABS) {
      this.#find(`tab-${tab}`).addEventListener("click", () => this.#show(tab));
      this.#find(`tab-${tab}`).addEventListener("keydown", (event) => this.#arrow(event));
    }
    this.#show("faults");
    fill(
      this.#find("panel-time"),
      h(
        "section",
        {},
        h("p.clock", {id: "world-clock"}),
        h("div.row", {role: "group", "aria-label": "Move time"}, MOVES.map(([label, seconds]) => this.#button(label, "/api/clock", {advance: seconds}))),
        h("p.panel-note", {}, "Time moves for Slack, Microsoft and the bot alike: sessions run out, reveals expire, tokens grow old."),
      ),
      h(
        "section",
        {},
        h("p.clock", {id: "bot-words"}),
        h("div.row", {id: "bot-buttons", role: "group", "aria-label": "The bot"}),
        h("p.panel-note", {}, "Killing the bot is a crash: it gets no chance to say goodbye. The workspace and the tenant stay."),
      ),
      h(
        "section",
        {},
        h("p.clock", {}, "Slack repeats itself"),
        h("div.row", {}, this.#button("Deliver the last one again", "/api/redeliver", {})),
        h("p.panel-note", {}, "As when an answer gets lost on the way. Nothing may be done twice."),
      ),
    );
    setInterval(() => this.#tick(), 1000);
  }

  #find = (id) => this.#root.querySelector(`#${id}`);
  #button = (label, path, body, style = "") =>
    h(`button.button${style}`, {type: "button", onclick: (event) => this.#does.do(event.currentTarget, path, body)}, label);

  #toggle() {
    this.#open = !this.#open;
    this.#find("world-panel").hidden = !this.#open;
    this.#find("show-world").setAttribute("aria-expanded", String(this.#open));
    document.body.classList.toggle("world-open", this.#open);
    this.#refresh();
  }

  #show(tab) {
    this.#tab = tab;
    for (const name of TABS) {
      this.#find(`tab-${name}`).setAttribute("aria-selected", String(name === tab));
      this.#find(`tab-${name}`).tabIndex = name === tab ? 0 : -1;
      this.#find(`panel-${name}`).hidden = name !== tab;
    }
    this.#refresh();
  }

  #arrow(event) {
    const step = {ArrowRight: 1, ArrowLeft: -1}[event.key];
    if (!step) return;
    const next = TABS[(TABS.indexOf(this.#tab) + step + TABS.length) % TABS.length];
    this.#show(next);
    this.#find(`tab-${next}`).focus();
  }

  draw(snapshot, names) {
    this.snapshot = snapshot;
    this.names = names;
    this.#drawFaults();
    this.#drawPeople();
    this.#drawBot();
    this.#tick();
    this.#refresh();
  }

  #drawFaults() {
    reconcile(
      this.#find("panel-faults"),
      this.snapshot.faults.map((fault) => ({
        key: fault.name,
        mark: String(fault.active),
        build: () =>
          h(
            "label.fault",
            {},
            h("input", {
              type: "checkbox",
              role: "switch",
              checked: fault.active,
              onchange: (event) => this.#does.do(event.currentTarget, "/api/fault", {name: fault.name, on: event.currentTarget.checked}),
            }),
            h("span", {}, h("strong", {}, fault.title), h("span.tag", {}, SERVICES[fault.service] ?? fault.service), h("span.description", {}, fault.description)),
          ),
      })),
    );
  }

  /** Who may sign in at Microsoft, and who may use Slack: what somebody else decides, over which Latchkey has no say. */
  #drawPeople() {
    const button = (label, path, body, undoes) => this.#button(label, path, body, undoes ? ".primary" : ".danger");
    const account = ({upn, enabled}) =>
      h(
        "div.row",
        {},
        h("span.account", {}, upn, !enabled && h("span.tag", {}, "disabled")),
        button(`${enabled ? "Disable" : "Enable"} account`, "/api/account", {account: upn, enabled: !enabled}, !enabled),
      );
    reconcile(
      this.#find("panel-people"),
      this.snapshot.accounts.map((person) => ({
        key: person.name,
        mark: JSON.stringify(person),
        build: () =>
          h(
            "section.person",
            {"aria-label": person.real_name},
            h("div.row", {}, h("strong.account", {}, person.real_name, !person.in_slack && h("span.tag", {}, "deactivated in Slack")), button(`${person.in_slack ? "Deactivate" : "Reactivate"} in Slack`, "/api/person", {who: person.name, active: !person.in_slack}, !person.in_slack)),
            person.accounts.map(account),
          ),
      })),
    );
  }

  #drawBot() {
    const {state, exit_code: code, connected, managed} = this.snapshot.bot;
    const words = {
      running: connected ? "The bot is running and connected." : "The bot is running, not connected yet.",
      stopped: "The bot is stopped.",
      died: `The bot ended by itself (exit code ${code}). Its log says why.`,
    };
    this.#find("bot-words").textContent = managed ? words[state] : connected ? "A bot is connected." : "No bot is connected; start one with the world's settings.";
    const buttons = !managed ? [] : state === "running" ? [this.#button("Kill the bot", "/api/bot", {do: "kill"}, ".danger")] : [this.#button("Start the bot", "/api/bot", {do: "start"}, ".primary")];
    if (this.#find("bot-buttons").dataset.state !== state) fill(this.#find("bot-buttons"), buttons);
    this.#find("bot-buttons").dataset.state = state;
  }

  #tick() {
    if (!this.snapshot) return;
    const {offset} = this.snapshot.clock;
    const now = this.names.now();
    const ahead = offset ? `, ${offset > 0 ? "+" : "−"}${duration(Math.abs(offset))}` : "";
    this.#find("world-clock").textContent = `It is ${formatDate(now, "{date_long}, {time_secs}", now)} in the pretend world${ahead}.`;
    const active = this.snapshot.faults.filter((fault) => fault.active).length;
    const {state, connected} = this.snapshot.bot;
    const bot = connected ? "bot connected" : state === "running" ? "bot is starting" : state === "died" ? "bot has died" : "no bot";
    fill(
      this.#find("world-state"),
      h(`span.dot.${connected ? "good" : "bad"}`, {"aria-hidden": "true"}),
      h(`span.world-bot${connected ? ".fine" : ""}`, {}, `${bot} · `),
      formatDate(now, "{time}", now),
      h("span.world-ahead", {}, ahead),
      ` · ${active ? `${active} ${active === 1 ? "fault" : "faults"}` : "nothing broken"}`,
    );
  }

  /** Read what the open tab shows from the server; changes that come meanwhile lead to one more reading. */
  async #refresh() {
    if (!this.#open || !["microsoft", "log"].includes(this.#tab)) return;
    this.#stale = true;
    if (this.#reading) return;
    this.#reading = true;
    try {
      while (this.#stale) {
        this.#stale = false;
        if (this.#tab === "log") this.#drawLog(await this.#does.read("/api/log"));
        else if (this.#tab === "microsoft") this.#drawMicrosoft(await this.#does.read("/api/microsoft"));
      }
    } catch (error) {
      fill(this.#find(`panel-${this.#tab}`), h("p.problem", {}, error.message));
    } finally {
      this.#reading = false;
    }
  }

  #drawLog({text}) {
    const panel = this.#find("panel-log");
    const atEnd = panel.scrollHeight - panel.scrollTop - panel.clientHeight < 60;
    fill(panel, text ? h("pre", {}, text) : h("p.empty", {}, "The bot has said nothing yet."));
    if (atEnd) panel.scrollTop = panel.scrollHeight;
  }

  #drawMicrosoft(tables) {
    fill(
      this.#find("panel-microsoft"),
      tables.map(({title, columns, rows, total}) => [
        h("h3", {}, title, h("span.count", {}, String(total))),
        rows.length
          ? h(
              "div.table",
              {},
              h(
                "table",
                {},
                h("thead", {}, h("tr", {}, columns.map((column) => h("th", {scope: "col"}, column)))),
                h("tbody", {}, rows.map((row) => h("tr", {}, row.map((cell, at) => h("td", {}, at === 0 ? formatDate(cell, "{time_secs}", cell) : String(cell ?? "")))))),
              ),
            )
          : h("p.empty", {}, "Nothing yet."),
      ]),
    );
  }
}

function duration(seconds) {
  const parts = [
    [Math.floor(seconds / 86400), "d"],
    [Math.floor(seconds / 3600) % 24, "h"],
    [Math.floor(seconds / 60) % 60, "min"],
  ];
  return parts.filter(([count]) => count).map(([count, unit]) => `${count} ${unit}`).join(" ") || `${Math.round(seconds)} s`;
}
