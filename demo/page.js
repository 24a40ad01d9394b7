// The stand-in workspace as a page: asks for a person's snapshot, draws what changed, sends what the person does.

import { Fields, renderBlocks } from "/page_blocks.js";
import { confirmed, drawModal, watchModal } from "/page_modal.js";
import { el, mrkdwn, when } from "/page_text.js";

const $ = (id) => document.getElementById(id);
const place = new URLSearchParams(location.hash.slice(1));
let me = place.get("as") || "";
let here = place.get("in") || "";
let tab = place.get("tab") === "home" ? "home" : "messages";
let world = null; // the newest snapshot
let asking = new AbortController();

// -- talking to the server ---------------------------------------------------------------------------------------------

async function post(verb, body) {
  try {
    const answer = await fetch(`/ui/${verb}`, {
      method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify({ as: me, ...body }),
    });
    const said = await answer.json();
    if (!answer.ok) toast(said.error);
    return answer.ok ? said : null;
  } catch {
    toast("The stand-in workspace does not answer. Is it still running?");
    return null;
  }
}

async function listen() {
  for (;;) {
    asking = new AbortController();
    const since = world && world.me === me ? `&since=${world.version}&world=${encodeURIComponent(world.world_mark)}` : "";
    try {
      const answer = await fetch(`/ui/state?as=${encodeURIComponent(me)}${since}`, { signal: asking.signal });
      if (answer.status === 400) me = "";
      else draw(await answer.json());
      document.body.classList.remove("offline");
    } catch (error) {
      if (error.name === "AbortError") continue;
      console.warn(error);
      document.body.classList.add("offline");
      await new Promise((wake) => setTimeout(wake, 1000));
    }
  }
}

const hands = {
  async press(target, block, element, value, node) {
    if (element.confirm && !(await confirmed(world, element.confirm))) return;
    node?.setAttribute("aria-busy", "true");
    const said = await post("press", { ...target, block_id: block.block_id, action_id: element.action_id, value });
    node?.removeAttribute("aria-busy");
    // A message and a modal show what went wrong in their own place; the home tab has none.
    if (said?.error && !target.ts && target.view !== world.modal?.id) toast(said.error);
  },
  submit: (view, values) => post("submit", { view: view.id, values }),
  close: (view) => post("close", { view: view.id }),
};

function toast(message) {
  const note = el("div", { class: "toast" }, message || "That did not work.");
  $("toasts").append(note);
  setTimeout(() => note.remove(), 8000);
}

// -- drawing -----------------------------------------------------------------------------------------------------------

function draw(next) {
  const first = !world || world.me !== next.me;
  world = next;
  me = world.me;
  const rooms = world.channels;
  if (!rooms.some((each) => each.id === here)) here = rooms.find((each) => each.is_im).id;
  history.replaceState(null, "", `#as=${me}&in=${here}&tab=${tab}`);
  document.title = `${world.workspace} (stand-in)`;
  set($("workspace-name"), world.workspace);
  set($("today"), when(world, new Date(world.now), { weekday: "long", day: "numeric", month: "long", year: "numeric" }));
  $("next-day").hidden = !world.can_turn;
  drawPeople();
  drawRooms();
  drawHead();
  drawMessages(first);
  drawHome();
  drawPanel();
  drawModal(world, hands);
}

const set = (node, text) => { if (node.textContent !== text) node.textContent = text; };

// Keep the children of `parent` in step with `items`: what did not change stays the same node, so focus, an open menu and
// a click under way survive. `look` says what a node shows; it is drawn again only when that differs.
function keep(parent, items, key, look, make) {
  const old = new Map([...parent.children].map((node) => [node.dataset.key, node]));
  let before = parent.firstElementChild;
  const fresh = [];
  for (const item of items) {
    const name = key(item);
    const mark = JSON.stringify(look(item));
    let node = old.get(name);
    old.delete(name);
    if (!node || node.dataset.mark !== mark) {
      const made = make(item, node);
      made.dataset.key = name;
      made.dataset.mark = mark;
      if (node) {
        if (before === node) before = made;
        node.replaceWith(made);
      } else fresh.push(item);
      node = made;
    }
    if (node === before) before = before.nextElementSibling;
    else parent.insertBefore(node, before);
  }
  for (const node of old.values()) node.remove();
  return fresh;
}

const initials = (name) => name.split(/\s+/).map((part) => part[0]).slice(0, 2).join("").toUpperCase();

// A key, drawn here: not every machine has a font with emoji, and the page loads no pictures.
const KEY = "M7 14a4 4 0 1 1 3.9-5H20v3h-2v3h-3v-3h-4.1A4 4 0 0 1 7 14Zm0-5.2a1.2 1.2 0 1 0 0 2.4 1.2 1.2 0 0 0 0-2.4Z";

function keyMark() {
  const svg = (tag, attributes) => {
    const node = document.createElementNS("http://www.w3.org/2000/svg", tag);
    for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
    return node;
  };
  const mark = svg("svg", { viewBox: "0 0 24 24", width: 20, height: 20 });
  mark.append(svg("path", { d: KEY, fill: "currentColor", "fill-rule": "evenodd" }));
  return mark;
}

function avatar(person) {
  const tone = [...person.id].reduce((sum, letter) => (sum * 31 + letter.charCodeAt(0)) % 8, 7);
  return el("span", { class: `avatar tone-${person.is_bot ? "bot" : tone}`, "aria-hidden": "true" },
    person.is_bot ? keyMark() : initials(person.real_name));
}

const badge = (count) => (count ? el("span", { class: "badge" }, String(count), el("span", { class: "hidden" }, " unread")) : null);

function drawPeople() {
  const people = world.people.filter((each) => !each.is_bot && !each.deleted);
  keep($("people"), people, (each) => each.id, (each) => [each, each.id === me], (each) => el("li", {},
    el("button", {
      type: "button", class: "row", "data-testid": `person-${each.name}`, "aria-pressed": String(each.id === me),
      onclick: () => become(each.id),
    }, avatar(each), el("span", { class: "row-text" }, el("span", {}, each.real_name),
      each.title ? el("span", { class: "note" }, each.title) : null), badge(each.unread))));
}

function drawRooms() {
  const bot = world.people.find((each) => each.is_bot);
  const rooms = [...world.channels].sort((one, other) => other.is_im - one.is_im);
  const shown = (each) => [each.name, each.unread, each.id === here];
  keep($("rooms"), rooms, (each) => each.id, shown, (each) => el("li", {},
    el("button", {
      type: "button", class: `row ${each.unread ? "unread" : ""}`, "data-testid": `room-${each.is_im ? "bot" : each.name}`,
      "aria-current": each.id === here ? "page" : null, onclick: () => go(each.id),
    }, each.is_im ? avatar(bot) : el("span", { class: "hash", "aria-hidden": "true" }, "#"),
      el("span", { class: "row-text" }, each.is_im ? bot.real_name : each.name), badge(each.unread))));
}

const room = () => world.channels.find((each) => each.id === here);

function drawHead() {
  const now = room();
  const bot = world.people.find((each) => each.is_bot);
  set($("room-name"), now.is_im ? bot.real_name : `#${now.name}`);
  set($("room-note"), now.is_im ? "App" : `${now.members} members`);
  $("tabs").hidden = !now.is_im;
  const home = now.is_im && tab === "home";
  $("pane-home").hidden = !home;
  $("pane-messages").hidden = home;
  for (const name of ["messages", "home"]) {
    $(`tab-${name}`).setAttribute("aria-selected", String((name === "home") === home));
    $(`tab-${name}`).tabIndex = (name === "home") === home ? 0 : -1;
  }
  $("typed").placeholder = `Message ${now.is_im ? bot.real_name : "#" + now.name}, or type / for a command`;
}

function drawMessages(first) {
  const list = $("messages");
  const now = room();
  const moved = first || list.dataset.room !== now.id;
  if (moved) list.replaceChildren();
  list.dataset.room = now.id;
  const scroll = $("scroll");
  const atEnd = moved || scroll.scrollHeight - scroll.scrollTop - scroll.clientHeight < 80;
  const day = (each) => when(world, new Date(each.ts * 1000), { weekday: "long", day: "numeric", month: "long" });
  const items = now.messages.flatMap((each, index) =>
    index && day(now.messages[index - 1]) === day(each) ? [each] : [{ separator: day(each), ts: `day-${day(each)}` }, each]);
  const look = ({ values, ...rest }) => rest; // what this person chose is already on screen
  const fresh = keep(list, items, (each) => each.ts, look, (each) => (each.separator ? separator(each) : message(each)));
  $("empty").hidden = items.length > 0;
  if (atEnd && (moved || fresh.length)) showTheLast(scroll, list.lastElementChild);
  const said = fresh.filter((each) => !each.separator && each.user !== me);
  if (!moved && said.length) set($("live"), `${author(said.at(-1)).real_name}: ${said.at(-1).text}`);
  const last = now.messages.at(-1);
  if (last && now.unread && !document.hidden && tab === "messages") post("read", { channel: now.id, ts: last.ts });
}

// A message longer than the window is read from its beginning; any other is shown whole, at the end.
function showTheLast(scroll, last) {
  if (!last || last.offsetHeight <= scroll.clientHeight) scroll.scrollTop = scroll.scrollHeight;
  else scroll.scrollTop += last.getBoundingClientRect().top - scroll.getBoundingClientRect().top - 12;
}

const author = (each) => world.people.find((person) => person.id === each.user)
  || { id: each.user, real_name: "Workspace", name: "workspace", is_bot: false };

const separator = (each) => el("li", { class: "day" }, el("span", {}, each.separator));

function message(each) {
  const person = author(each);
  const target = { channel: each.channel, ts: each.ts };
  const context = {
    world, key: each.ts, values: each.values, live: true, fields: new Fields(),
    press: (block, element, value, node) => hands.press(target, block, element, value, node),
  };
  const body = each.blocks?.length ? renderBlocks(context, each.blocks)
    : [el("div", { class: "prose" }, mrkdwn(world, each.text))];
  return el("li", { class: `message ${each.ephemeral ? "ephemeral" : ""}`, "data-ts": each.ts, "data-testid": "message" },
    avatar(person),
    el("article", { class: "message-body", "aria-label": `Message from ${person.real_name}` },
      el("div", { class: "message-head" }, el("strong", {}, person.real_name),
        person.is_bot ? el("span", { class: "tag" }, "APP") : null,
        el("time", { class: "note" }, when(world, new Date(each.ts * 1000), { hour: "2-digit", minute: "2-digit" })),
        each.ephemeral ? el("span", { class: "note only" }, "Only visible to you") : null),
      el("div", { class: "blocks" }, body),
      each.edited && !person.is_bot ? el("span", { class: "note" }, "(edited)") : null,
      each.failed ? el("p", { class: "error", role: "alert" }, each.failed) : null));
}

function drawHome() {
  const view = world.home;
  const box = $("home");
  const mark = view ? `${view.id}/${view.hash}` : "none";
  if (box.dataset.mark === mark) return;
  box.dataset.mark = mark;
  if (!view) {
    box.replaceChildren(el("p", { class: "empty" }, "The app has not shown anything here yet."));
    return;
  }
  const fields = new Fields();
  const context = {
    world, fields, key: view.id, values: view.state.values, live: true,
    press: (block, element, value, node) => hands.press({ view: view.id, values: fields.values() }, block, element, value, node),
  };
  box.replaceChildren(...renderBlocks(context, view.blocks));
}

// -- the panel beside the chat -----------------------------------------------------------------------------------------

const tone = (status) => ({ active: "good", enabled: "good", ok: "good", inactive: "off", disabled: "off", gone: "off" })[status.toLowerCase()] || "";

function drawPanel() {
  $("hints-box").hidden = !world.hints.length;
  keep($("hints"), world.hints, (each) => each, (each) => each, (each) => el("li", {}, hint(each)));
  $("world-box").hidden = !world.world.length;
  keep($("world"), world.world, (each) => `${each.title} ${each.subtitle}`, (each) => each, (each, old) =>
    el("li", { class: `thing ${old ? "changed" : ""}`, "data-title": each.title, "data-status": each.status },
      el("span", { class: "thing-text" }, el("strong", {}, each.title), el("span", { class: "note" }, each.subtitle || "")),
      el("span", { class: `pill ${tone(each.status || "")}` }, each.status || "")));
}

function hint(text) {
  return text.split(/(`\/[^`]+`)/).map((part) => {
    if (!part.startsWith("`/")) return mrkdwn(world, part);
    const code = part.slice(1, -1);
    const put = (event) => {
      if (event.type === "keydown" && event.key !== "Enter" && event.key !== " ") return;
      event.preventDefault();
      fill(code);
    };
    // A span and no button: only a span wraps with the sentence around it.
    const title = "Put this into the message box";
    return el("span", { role: "button", tabindex: 0, class: "code", title, onclick: put, onkeydown: put }, code);
  });
}

// -- moving about ------------------------------------------------------------------------------------------------------

function become(id) {
  me = id;
  here = "";
  tab = "messages";
  asking.abort();
}

function go(id, to = "messages") {
  here = id;
  tab = to;
  draw(world);
  if (to === "messages") $("typed").focus();
}

function show(name) {
  tab = name;
  draw(world);
  if (name === "home") post("home", {}).then((said) => said?.error && toast(said.error));
}

// -- the composer ------------------------------------------------------------------------------------------------------

const typed = $("typed");
let picked = -1;

function fill(text) {
  if (tab === "home") show("messages");
  typed.value = text;
  typed.focus();
  suggest();
}

const matching = () => (typed.value.startsWith("/")
  ? world.suggestions.filter(([text]) => text.startsWith(typed.value.trimEnd()) && text !== typed.value.trimEnd()) : []);

function suggest() {
  const found = matching();
  picked = Math.min(picked, found.length - 1);
  $("suggest").replaceChildren(...found.map(([text, does], index) => el("li", {
    role: "option", id: `suggest-${index}`, "aria-selected": String(index === picked),
    onmousedown: (event) => { event.preventDefault(); take(text); },
  }, el("strong", {}, text), el("span", { class: "note" }, does))));
  $("suggest").hidden = !found.length;
  typed.setAttribute("aria-expanded", String(Boolean(found.length)));
  if (picked >= 0) typed.setAttribute("aria-activedescendant", `suggest-${picked}`);
  else typed.removeAttribute("aria-activedescendant");
  typed.style.height = "auto";
  typed.style.height = `${typed.scrollHeight}px`;
}

function take(text) {
  typed.value = text + " ";
  picked = -1;
  suggest();
}

function press(event) {
  const found = matching();
  const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
  if (step && found.length) {
    event.preventDefault();
    picked = (picked + step + found.length) % found.length;
    suggest();
  } else if ((event.key === "Tab" && !event.shiftKey && found.length) || (event.key === "Enter" && picked >= 0)) {
    event.preventDefault();
    take(found[Math.max(picked, 0)][0]);
  } else if (event.key === "Escape") {
    picked = -1;
    $("suggest").hidden = true;
  } else if (event.key === "Enter" && !event.shiftKey && !event.isComposing) {
    event.preventDefault();
    $("composer").requestSubmit();
  }
}

async function say(event) {
  event.preventDefault();
  const text = typed.value.trim();
  if (!text) return;
  typed.value = "";
  picked = -1;
  suggest();
  await post("type", { channel: here, text });
}

// -- start -------------------------------------------------------------------------------------------------------------

typed.addEventListener("input", () => { picked = -1; suggest(); });
typed.addEventListener("keydown", press);
typed.addEventListener("blur", () => { $("suggest").hidden = true; });
$("composer").addEventListener("submit", say);
$("tab-messages").addEventListener("click", () => show("messages"));
$("tab-home").addEventListener("click", () => show("home"));
$("tabs").addEventListener("keydown", (event) => {
  if (event.key !== "ArrowLeft" && event.key !== "ArrowRight") return;
  const next = tab === "home" ? "messages" : "home";
  show(next);
  $(`tab-${next}`).focus();
});
$("next-day").addEventListener("click", async () => {
  $("next-day").disabled = true;
  $("next-day").setAttribute("aria-busy", "true");
  await post("next-day", {});
  $("next-day").disabled = false;
  $("next-day").removeAttribute("aria-busy");
});

function togglePanel(open) {
  document.body.classList.toggle("no-panel", !open);
  $("panel-toggle").setAttribute("aria-expanded", String(open));
}
$("panel-toggle").addEventListener("click", () => togglePanel(document.body.classList.contains("no-panel")));
const roomy = window.matchMedia("(min-width: 1151px)");
roomy.addEventListener("change", () => togglePanel(roomy.matches));
togglePanel(roomy.matches);
document.addEventListener("visibilitychange", () => world && draw(world));
watchModal(hands);
listen();
