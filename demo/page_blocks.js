// Block Kit to DOM. `context` says where the blocks stand and what a press does:
// { world, key, values, live, press(block, element, value) } where `live` tells that a choice is sent at once.

import { el, mrkdwn, plain, richText, textObject, words } from "/page_text.js";

const CARRIES = {
  plain_text_input: "value", number_input: "value", email_text_input: "value", url_text_input: "value",
  radio_buttons: "selected_option", static_select: "selected_option", checkboxes: "selected_options",
  multi_static_select: "selected_options", datepicker: "selected_date", timepicker: "selected_time",
  datetimepicker: "selected_date_time", users_select: "selected_user", multi_users_select: "selected_users",
  channels_select: "selected_channel", conversations_select: "selected_conversation",
};

function current(context, block, element) {
  const kept = context.kept?.[block.block_id]?.[element.action_id];
  if (kept !== undefined) return kept;
  const carried = context.values?.[block.block_id]?.[element.action_id]?.[CARRIES[element.type]];
  if (Array.isArray(carried)) return carried.map((each) => each.value ?? each);
  return carried?.value ?? carried ?? null;
}

export class Fields {
  // The fields of one message, modal or home tab: how to read each, by block and action id.
  #readers = new Map();

  add(block, element, read) {
    this.#readers.set(JSON.stringify([block.block_id, element.action_id]), read);
  }

  values() {
    const found = {};
    for (const [key, read] of this.#readers) {
      const [block, action] = JSON.parse(key);
      (found[block] ??= {})[action] = read();
    }
    return found;
  }
}

export function renderBlocks(context, blocks) {
  return blocks.map((block) => {
    const node = (BLOCKS[block.type] || unknown)(context, block);
    node.classList.add("block", `block-${block.type}`);
    node.dataset.blockId = block.block_id;
    return node;
  });
}

const unknown = (_, block) => el("p", { class: "note" }, `(a block of type ${block.type})`);

const BLOCKS = {
  section: (context, block) => {
    const text = block.text ? el("div", { class: "prose" }, textObject(context.world, block.text)) : null;
    const cells = block.fields?.map((each) => el("div", { class: "prose" }, textObject(context.world, each)));
    const body = el("div", { class: "section-body" }, text, cells ? el("div", { class: "fields" }, cells) : null);
    const beside = block.accessory ? renderElement(context, block, block.accessory) : null;
    return el("div", {}, body, beside ? el("div", { class: "accessory" }, beside) : null);
  },
  header: (context, block) => el("h3", {}, plain(block.text.text)),
  divider: () => el("hr"),
  context: (context, block) => el("div", {}, block.elements.map((each) =>
    each.type === "image" ? picture(each, "context-image") : el("span", { class: "prose" }, textObject(context.world, each)))),
  actions: (context, block) => el("div", {}, block.elements.map((each) => renderElement(context, block, each))),
  image: (context, block) => el("figure", {}, block.title ? el("figcaption", {}, plain(block.title.text)) : null,
    picture(block, "block-picture")),
  markdown: (context, block) => el("div", { class: "prose" },
    mrkdwn(context.world, block.text.replace(/\*\*(.+?)\*\*/g, "*$1*").replace(/^#+ (.+)$/gm, "*$1*"))),
  rich_text: (context, block) => el("div", {}, block.elements.map((each) => richText(context.world, each))),
  input: inputBlock,
};

function picture(image, name) {
  // The page loads nothing from elsewhere, so a remote picture shows its alternative text, as it does on a bad line.
  const frame = el("span", { class: `picture ${name}`, role: "img", "aria-label": image.alt_text }, image.alt_text);
  const url = image.slack_file?.id ? `${location.origin}/files/${image.slack_file.id}` : image.image_url || "";
  if (url.startsWith(location.origin + "/")) frame.replaceChildren(el("img", { src: url, alt: "" }));
  return frame;
}

function inputBlock(context, block) {
  const id = `${context.key}-${block.block_id}-${block.element.action_id}`;
  const many = ["radio_buttons", "checkboxes"].includes(block.element.type);
  const optional = block.optional ? el("span", { class: "note" }, " (optional)") : null;
  const label = el(many ? "legend" : "label", many ? {} : { for: id }, plain(block.label.text), optional);
  const hint = block.hint ? el("p", { class: "note", id: `${id}-hint` }, plain(block.hint.text)) : null;
  const error = el("p", { class: "error", id: `${id}-error`, "data-error-for": block.block_id, hidden: true });
  const field = renderElement({ ...context, live: Boolean(block.dispatch_action) }, block, block.element, id);
  const control = field.matches("input, select, textarea") ? field : field.querySelector("input, select, textarea");
  control?.setAttribute("aria-describedby", `${id}-error${hint ? ` ${id}-hint` : ""}`);
  if (!block.optional) control?.setAttribute("aria-required", "true");
  return el(many ? "fieldset" : "div", {}, label, field, hint, error);
}

export function showErrors(container, errors) {
  for (const place of container.querySelectorAll("[data-error-for]")) {
    const message = errors?.[place.dataset.errorFor] || "";
    place.textContent = message;
    place.hidden = !message;
    for (const control of place.parentElement.querySelectorAll("input, select, textarea"))
      control.setAttribute("aria-invalid", String(Boolean(message)));
  }
}

function renderElement(context, block, element, id) {
  const draw = ELEMENTS[element.type];
  if (!draw) return el("span", { class: "note" }, `(an element of type ${element.type})`);
  const node = draw({ context, block, element, id, now: current(context, block, element) });
  node.dataset.actionId = element.action_id ?? "";
  return node;
}

// -- elements ----------------------------------------------------------------------------------------------------------

const label = (element) => words(element.placeholder) || element.type.replaceAll("_", " ");

function send({ context, block, element }, value) {
  if (context.live) context.press(block, element, value);
}

function button({ context, block, element }) {
  const node = el("button", {
    type: "button", class: `btn ${element.style || ""}`, "aria-label": element.accessibility_label,
    onclick: () => {
      if (element.url && /^https?:/i.test(element.url)) window.open(element.url, "_blank", "noopener,noreferrer");
      context.press(block, element, undefined, node);
    },
  }, plain(element.text.text));
  return node;
}

function choices(type) {
  return (spot) => {
    const { context, block, element, now } = spot;
    const name = `${context.key}-${block.block_id}-${element.action_id}`;
    const chosen = new Set([now].flat());
    const boxes = element.options.map((option, index) => {
      const box = el("input", { type, name, id: `${name}-${index}`, value: option.value, checked: chosen.has(option.value) });
      const more = option.description ? el("span", { class: "note" }, textObject(context.world, option.description)) : null;
      return el("label", { class: "choice", for: box.id }, box, el("span", {}, textObject(context.world, option.text), more));
    });
    const read = () => {
      const ticked = [...group.querySelectorAll("input:checked")].map((box) => box.value);
      return type === "radio" ? ticked[0] ?? null : ticked;
    };
    const role = type === "radio" ? "radiogroup" : "group";
    const group = el("div", { class: "choices", role, "aria-label": words(block.label) || label(element) }, boxes);
    group.addEventListener("change", () => send(spot, read()));
    context.fields?.add(block, element, read);
    return group;
  };
}

function menu(options, many = false) {
  return (spot) => {
    const { context, block, element, id, now } = spot;
    const chosen = new Set([now].flat());
    const one = ([value, text]) => el("option", { value, selected: chosen.has(value) }, text);
    const groups = options(context.world, element).map((each) =>
      Array.isArray(each) ? one(each) : el("optgroup", { label: each.label }, each.options.map(one)));
    const first = many ? null : el("option", { value: "" }, words(element.placeholder) || "Choose one");
    const size = many ? Math.min(6, Math.max(2, groups.length)) : null;
    const node = el("select", { id, multiple: many, size, "aria-label": id ? null : label(element) }, first, groups);
    const read = () => (many ? [...node.selectedOptions].map((each) => each.value) : node.value || null);
    node.addEventListener("change", () => send(spot, read()));
    context.fields?.add(block, element, read);
    return node;
  };
}

const pair = (option) => [option.value, words(option.text)];
const offered = (_, element) => element.options?.map(pair)
  ?? element.option_groups.map((each) => ({ label: words(each.label), options: each.options.map(pair) }));
const people = (world) => world.people.filter((each) => !each.is_bot && !each.deleted).map((each) => [each.id, each.real_name]);
const rooms = (world) => world.channels.filter((each) => !each.is_im).map((each) => [each.id, "#" + each.name]);
const talks = (world) => [...people(world), ...rooms(world)];

function box(type, extra = () => ({}), decode = (value) => value || null, encode = (value) => value) {
  return (spot) => {
    const { context, block, element, id, now } = spot;
    const tag = element.multiline ? "textarea" : "input";
    const shared = { id, placeholder: words(element.placeholder) || null, "aria-label": id ? null : label(element) };
    const own = tag === "input" ? { type } : { rows: 4 };
    const node = el(tag, { ...shared, ...own, ...extra(element), autofocus: element.focus_on_load });
    node.value = now === null ? "" : encode(now);
    const read = () => decode(node.value);
    node.addEventListener("change", () => send(spot, read()));
    context.fields?.add(block, element, read);
    return node;
  };
}

function overflow({ context, block, element }) {
  const items = element.options.map((option) => el("button", {
    type: "button", role: "menuitem",
    onclick: () => { node.open = false; context.press(block, element, option.value ?? words(option.text)); },
  }, plain(words(option.text))));
  const node = el("details", { class: "overflow" }, el("summary", { class: "btn", "aria-label": "More actions" }, "⋯"),
    el("div", { class: "overflow-menu", role: "menu" }, items));
  return node;
}

const two = (number) => String(number).padStart(2, "0");
const localTime = (seconds) => {
  const at = new Date(seconds * 1000);
  return `${at.getFullYear()}-${two(at.getMonth() + 1)}-${two(at.getDate())}T${two(at.getHours())}:${two(at.getMinutes())}`;
};
const seconds = (value) => (value ? Math.floor(new Date(value).getTime() / 1000) : null);

const ELEMENTS = {
  button, overflow,
  image: ({ element }) => picture(element, "accessory-picture"),
  radio_buttons: choices("radio"),
  checkboxes: choices("checkbox"),
  static_select: menu(offered),
  multi_static_select: menu(offered, true),
  users_select: menu(people),
  multi_users_select: menu(people, true),
  channels_select: menu(rooms),
  conversations_select: menu(talks),
  datepicker: box("date"),
  timepicker: box("time"),
  datetimepicker: box("datetime-local", () => ({}), seconds, localTime),
  plain_text_input: box("text", (element) => ({ maxlength: element.max_length || 3000 })),
  number_input: box("text", (element) => ({ inputmode: element.is_decimal_allowed ? "decimal" : "numeric" })),
  email_text_input: box("email"),
  url_text_input: box("url"),
};
