// Building elements. Text from the workspace only ever becomes text nodes and checked attributes: nothing is parsed as HTML.

/** An element: `h("button.primary", {type: "button", onclick}, "Save")`. False, null and undefined are left out. */
export function h(spec, attributes = {}, ...children) {
  const [tag, ...classes] = spec.split(".");
  const element = document.createElement(tag);
  if (classes.length) element.className = classes.join(" ");
  for (const [name, value] of Object.entries(attributes)) {
    if (value === null || value === undefined || value === false) continue;
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (name === "value" || name === "checked" || name === "selected") element[name] = value;
    else element.setAttribute(name, value === true ? "" : String(value));
  }
  element.append(...children.flat(Infinity).filter((child) => child !== null && child !== undefined && child !== false));
  return element;
}

/** Replace everything inside `parent`. */
export function fill(parent, ...children) {
  parent.replaceChildren(...children.flat(Infinity).filter((child) => child !== null && child !== undefined && child !== false));
}

/**
 * Make `parent` hold these items in this order, keeping the elements of items that did not change.
 * An item is {key, mark, build}: same key and mark, same element.
 */
export function reconcile(parent, items) {
  const kept = new Map();
  for (const element of parent.children) kept.set(element.dataset.key, element);
  let place = parent.firstElementChild;
  for (const {key, mark, build} of items) {
    let element = kept.get(key);
    if (!element || element.dataset.mark !== mark) {
      const fresh = build();
      fresh.dataset.key = key;
      fresh.dataset.mark = mark;
      if (element) {
        if (place === element) place = fresh;
        element.replaceWith(fresh);
      }
      element = fresh;
    }
    kept.delete(key);
    if (element === place) place = place.nextElementSibling;
    else parent.insertBefore(element, place);
  }
  for (const element of kept.values()) element.remove();
}

let lastId = 0;

/** An id nobody else on the page has. */
export function freshId(prefix) {
  lastId += 1;
  return `${prefix}-${lastId}`;
}
