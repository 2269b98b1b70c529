// The "are you sure?" dialog of Block Kit's `confirm` objects.

import {freshId, h} from "./dom.js";
import {mrkdwn, plain} from "./mrkdwn.js";

/** Ask; resolves to true when the person agrees. Esc and the other button mean no. */
export function confirm(object, names) {
  return new Promise((resolve) => {
    const title = freshId("confirm");
    const end = (answer) => () => {
      dialog.remove();
      resolve(answer);
    };
    const yes = h(`button.button.${object.style === "danger" ? "danger" : "primary"}`, {type: "button", onclick: end(true)}, plain(object.confirm.text));
    const no = h("button.button", {type: "button", onclick: end(false)}, plain(object.deny.text));
    const body = object.text.type === "mrkdwn" ? mrkdwn(object.text.text, names) : plain(object.text.text);
    const dialog = h(
      "dialog.confirm",
      {"aria-labelledby": title, oncancel: end(false)},
      h("h2", {id: title}, plain(object.title.text)),
      h("div.text", {}, body),
      h("footer", {}, no, yes),
    );
    document.body.append(dialog);
    dialog.showModal();
    no.focus();
  });
}
