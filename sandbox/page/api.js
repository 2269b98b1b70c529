// Talking to the sandbox: every request carries the page's token, which no other website can read.

const token = document.querySelector('meta[name="sandbox-token"]').content;

/** An answer that is not a success; its message is a sentence for the person. */
export class Refused extends Error {}

async function ask(path, options) {
  const response = await fetch(path, {...options, headers: {"X-Sandbox-Token": token, "Content-Type": "application/json"}});
  const body = await response.json();
  if (!response.ok) throw new Refused(body.error ?? `The sandbox answered ${response.status}.`);
  return body;
}

/** A file, as the bytes it has. */
export async function getFile(path, query) {
  const response = await fetch(`${path}?${new URLSearchParams(query)}`, {headers: {"X-Sandbox-Token": token}});
  if (!response.ok) throw new Refused((await response.json()).error);
  return response.blob();
}

export const get = (path, query, signal) => ask(`${path}?${new URLSearchParams(query)}`, {signal});
export const post = (path, body) => ask(path, {method: "POST", body: JSON.stringify(body)});
