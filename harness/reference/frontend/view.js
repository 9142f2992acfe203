// What a person sees. Text is only ever set as text; what has not changed stays the element that it was.

import { inOrder, latest, names, pending, rooms, self, shown, unread, waiting } from "/rooms.js";

export const $ = (id) => document.getElementById(id);

const hour = new Intl.DateTimeFormat(undefined, { hour: "2-digit", minute: "2-digit" });
const date = new Intl.DateTimeFormat(undefined, { weekday: "long", day: "numeric", month: "long" });
const TOGETHER_MS = 5 * 60_000;
const NEAR_END = 80;

export function element(tag, { text, kind, ...more } = {}, ...children) {
  const made = document.createElement(tag);
  if (text !== undefined) made.textContent = text;
  if (kind) made.className = kind;
  for (const [name, value] of Object.entries(more)) made.setAttribute(name, value);
  made.append(...children);
  return made;
}

// Puts `wanted` [[id, looks, make], …] into a list: an element is made anew only if its looks have changed.
function settle(list, wanted) {
  const old = new Map([...list.children].map((child) => [child.dataset.id, child]));
  const children = wanted.map(([id, looks, make]) => {
    const kept = old.get(id);
    if (kept?.dataset.looks === looks) return kept;
    const made = make();
    Object.assign(made.dataset, { id, looks });
    return made;
  });
  const same = children.length === list.children.length && children.every((child, n) => child === list.children[n]);
  if (!same) list.replaceChildren(...children);
}

export function face(name, id = name) {
  const made = element("span", { kind: "face", "aria-hidden": "true", text: initials(name) });
  made.style.setProperty("--hue", [...id].reduce((sum, c) => (sum * 31 + c.codePointAt(0)) % 360, 7));
  return made;
}

const initials = (name) => (name.match(/\p{L}|\p{N}/u)?.[0] ?? "?").toUpperCase();
const nameOf = (sender) => (sender === self.me.id ? "You" : names.get(sender) ?? "Somebody");

// The list

export function drawRooms(current) {
  const found = inOrder($("find").value);
  settle($("conversations"), found.map((room) => {
    const last = latest(room);
    const count = room === current && !document.hidden ? 0 : unread(room);
    const line = last ? `${nameOf(last.sender)}: ${last.text}`.slice(0, 90) : ["No messages yet", "1 message"][room.head] ?? `${room.head} messages`;
    const at = last ? hour.format(new Date(last.at)) : "";
    const looks = JSON.stringify([room.title, count, line, at, room === current]);
    return [room.key, looks, () => entry(room, { line, at, count, open: room === current })];
  }));
  $("none").hidden = found.length > 0;
  $("none").textContent = rooms.size ? "Nothing is called that." : "No conversation yet. Begin one with +.";
  const others = [...rooms.values()].reduce((sum, room) => sum + (room === current && !document.hidden ? 0 : unread(room)), 0);
  document.title = `${others ? `(${others}) ` : ""}${current ? `${current.title} · ` : ""}Chat`;
}

function entry(room, { line, at, count, open }) {
  const link = element("a", { href: `#${encodeURIComponent(room.key)}` }, face(room.title, room.key), element("b", { text: room.title }));
  link.dataset.key = room.key;
  link.append(element("time", { text: at }), element("small", { text: line }));
  if (count) link.append(element("span", { kind: "unread", text: count > 99 ? "99+" : count, "aria-label": `${count} unread` }));
  if (open) link.setAttribute("aria-current", "page");
  return element("li", {}, link);
}

// The open conversation

export function drawRoom(room) {
  $("title").textContent = room.title;
  const people = room.people?.map((one) => one.name ?? one.email) ?? [];
  $("members").textContent = people.length > 8 ? `${people.length} members` : people.join(", ");
}

export function drawMessages(room, { toEnd = false } = {}) {
  const list = $("messages");
  const atEnd = toEnd || list.scrollHeight - list.scrollTop - list.clientHeight < NEAR_END;
  const wanted = [];
  let before = null;
  for (const message of shown(room)) {
    const day = new Date(message.at).toDateString();
    if (day !== (before && new Date(before.at).toDateString())) {
      wanted.push([`day ${day}`, day, () => element("li", { kind: "day", text: date.format(new Date(message.at)) })]);
      before = null;
    }
    if (room.from !== null && message.seq > room.from && (before?.seq ?? 0) <= room.from) {
      wanted.push(["news", String(room.from), () => element("li", { kind: "news", text: "New" })]);
    }
    const first = before?.sender !== message.sender || new Date(message.at) - new Date(before.at) > TOGETHER_MS;
    const looks = JSON.stringify([message.text, first, nameOf(message.sender)]);
    wanted.push([`message ${message.seq}`, looks, () => stored(message, first)]);
    before = message;
  }
  for (const run of room.runs.values()) wanted.push([`run ${run.id}`, `${run.doing} ${run.text}`, () => live(run)]);
  for (const one of waiting(room)) wanted.push([`own ${one.id}`, one.failed ?? "", () => sending(one)]);
  if (!wanted.length && room.loaded) wanted.push(["nothing", "", () => element("li", { kind: "nothing", text: "Say the first word." })]);
  settle(list, wanted);
  if (atEnd) list.scrollTop = list.scrollHeight;
}

const bubble = (kind, text) => element("li", { kind }, element("div", { kind: "text", text }));

function by(sender, at) {
  const name = nameOf(sender);
  return element("div", { kind: "by" }, face(name, sender), element("b", { text: name }), at ? hour.format(new Date(at)) : "");
}

function stored(message, first) {
  const who = message.sender === self.me.id ? "own" : message.sender === "agent" ? "agent" : "";
  const made = bubble(`${who} ${first ? "first" : ""}`, message.text);
  made.dataset.seq = message.seq;
  if (message.pieces) made.dataset.pieces = message.pieces; // in how many it was seen being written
  if (first) made.prepend(by(message.sender, message.at));
  return made;
}

function live(run) {
  const made = bubble("agent live first", run.text);
  made.prepend(by("agent"));
  made.firstChild.append(run.doing);
  return made;
}

function sending(one) {
  const made = bubble(one.failed ? "own failed first" : "own pending first", one.text);
  const note = element("div", { kind: "note", text: one.failed ?? "sending …" });
  made.append(note);
  if (one.failed) {
    for (const [text, act] of [["Try again", one.again], ["Discard", one.discard]]) {
      const button = element("button", { text, type: "button" });
      button.onclick = act;
      note.append(button);
    }
  }
  return made;
}

// Around it

let noticeTimer;
export function notice(text) {
  $("notice").textContent = text;
  clearTimeout(noticeTimer);
  noticeTimer = setTimeout(() => ($("notice").textContent = ""), 6000);
}

export function drawState(name) {
  $("status").dataset.state = name;
  $("status").textContent = name;
  $("banner").hidden = name === "online";
  const left = pending.size ? ` ${pending.size} ${pending.size === 1 ? "message waits" : "messages wait"} for it.` : "";
  $("banner-text").textContent = name === "connecting" ? "Connecting …" : `The connection was lost; it comes back by itself.${left}`;
}

export function showWelcome(note) {
  $("app").hidden = true;
  $("welcome").hidden = false;
  $("welcome-note").textContent = note;
  document.title = "Chat";
}
