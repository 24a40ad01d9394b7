// Text to DOM: Slack's mrkdwn and rich text. Nothing here ever writes HTML: every string becomes a text node.

const EMOJI = {
  white_check_mark: "✅", heavy_check_mark: "✔️", x: "❌", warning: "⚠️", rotating_light: "🚨", key: "🔑",
  old_key: "🗝️", lock: "🔒", unlock: "🔓", robot_face: "🤖", wave: "👋", eyes: "👀", tada: "🎉", clock3: "🕒",
  hourglass: "⌛", hourglass_flowing_sand: "⏳", calendar: "📅", date: "📅", bell: "🔔", no_bell: "🔕", mag: "🔍",
  thumbsup: "👍", "+1": "👍", thumbsdown: "👎", "-1": "👎", bust_in_silhouette: "👤", busts_in_silhouette: "👥",
  shield: "🛡️", skull: "💀", fire: "🔥", memo: "📝", question: "❓", information_source: "ℹ️", no_entry: "⛔",
  no_entry_sign: "🚫", recycle: "♻️", arrows_counterclockwise: "🔄", leftwards_arrow_with_hook: "↩️", pause_button: "⏸️",
  red_circle: "🔴", large_yellow_circle: "🟡", large_orange_circle: "🟠", large_green_circle: "🟢",
  large_blue_circle: "🔵", white_circle: "⚪", bulb: "💡", link: "🔗", gear: "⚙️", bar_chart: "📊", point_right: "👉",
  sparkles: "✨", ghost: "👻", cloud: "☁️", hammer_and_wrench: "🛠️", page_facing_up: "📄", seedling: "🌱",
};

export function el(tag, attributes = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value === undefined || value === null || value === false) continue;
    if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else if (name === "class") node.className = value;
    else node.setAttribute(name, value === true ? "" : value);
  }
  node.append(...children.flat(Infinity).filter((child) => child !== null && child !== undefined && child !== ""));
  return node;
}

// The few signs that the bot uses are drawn, so that they look the same on a machine without emoji fonts.
const SIGNS = {
  "🔴": "red", "🟠": "orange", "🟡": "yellow", "🟢": "green", "⚪": "grey", "✅": "done", "⏳": "waiting", "⚠️": "careful",
};
const SIGN = new RegExp(`(${Object.keys(SIGNS).join("|")})`, "u");

export const signs = (text) => text.split(SIGN).map((part) =>
  Object.hasOwn(SIGNS, part) ? el("span", { class: `sign ${SIGNS[part]}`, role: "img", "aria-label": SIGNS[part] }) : part);

const unescape = (text) => text.replace(/&lt;/g, "<").replace(/&gt;/g, ">").replace(/&amp;/g, "&");

export function plain(text) {
  return text.split(/(:[a-z0-9_+-]+:)/).flatMap((part) => signs(emoji(part.slice(1, -1), part)));
}

const emoji = (name, otherwise) => (Object.hasOwn(EMOJI, name) ? EMOJI[name] : otherwise);

function anchor(url, ...children) {
  // Only web and mail addresses become links; anything else (javascript:, data:) stays text.
  if (!/^(https?:|mailto:)/i.test(url)) return el("span", {}, ...children);
  return el("a", { href: url, target: "_blank", rel: "noopener noreferrer" }, ...children);
}

const mention = (world, id, otherwise) => {
  const person = world.people.find((each) => each.id === id);
  const me = id === world.me ? "mention me" : "mention";
  return el("span", { class: me }, "@" + (person ? person.real_name : otherwise || id));
};

const room = (world, id, otherwise) => {
  const found = world.channels.find((each) => each.id === id);
  return el("span", { class: "mention" }, "#" + (found ? found.name : otherwise || id));
};

const zone = (world) => world.people.find((each) => each.id === world.me)?.tz || "UTC";

export const when = (world, at, options) =>
  new Intl.DateTimeFormat("en-GB", { timeZone: zone(world), ...options }).format(at);

function date(world, seconds, format) {
  const at = new Date(Number(seconds) * 1000);
  if (Number.isNaN(at.getTime())) return null;
  const day = (options) => when(world, at, options);
  const key = (value) => when(world, value, { dateStyle: "short" });
  const now = new Date(world.now);
  const names = { 0: "today", 86400000: "yesterday", "-86400000": "tomorrow" };
  const shift = Object.keys(names).find((each) => key(new Date(now.getTime() - Number(each))) === key(at));
  const short = () => day({ day: "numeric", month: "short", year: "numeric" });
  const full = () => day({ day: "numeric", month: "long", year: "numeric" });
  const long = () => day({ weekday: "long", day: "numeric", month: "long", year: "numeric" });
  const pretty = (other) => (shift === undefined ? other() : names[shift]);
  const tokens = {
    date_num: () => day({ year: "numeric", month: "2-digit", day: "2-digit" }).split("/").reverse().join("-"),
    date: full, date_short: short, date_long: long, ago: () => pretty(short),
    date_pretty: () => pretty(full), date_short_pretty: () => pretty(short), date_long_pretty: () => pretty(long),
    time: () => day({ hour: "2-digit", minute: "2-digit" }),
    time_secs: () => day({ hour: "2-digit", minute: "2-digit", second: "2-digit" }),
  };
  return format.replace(/\{(\w+)\}/g, (whole, name) => (Object.hasOwn(tokens, name) ? tokens[name]() : whole));
}

function bracket(world, inside) {
  const [target, ...rest] = inside.split("|");
  const label = unescape(rest.join("|"));
  if (target.startsWith("@")) return mention(world, target.slice(1), label);
  if (target.startsWith("#")) return room(world, target.slice(1), label);
  if (target.startsWith("!date^")) {
    const [, seconds, format, url] = target.split("^");
    const words = date(world, seconds, unescape(format || "")) ?? label;
    const time = el("time", {}, words);
    return url ? anchor(unescape(url), time) : time;
  }
  if (target.startsWith("!")) return el("span", { class: "mention" }, label || "@" + target.slice(1).split("^")[0]);
  return anchor(unescape(target), label || unescape(target).replace(/^mailto:/, ""));
}

const MARKS = { "*": "strong", _: "em", "~": "s" };
const EDGE = "[\\s.,:;!?'\"(){}\\[\\]/|—–-]";
const INLINE = new RegExp(
  [
    "`([^`\\n]+)`", "<([^<>\\n]+)>", "(https?://[^\\s<>|`]*[^\\s<>|`.,:;!?'\")\\]])", ":([a-z0-9_+-]+):",
    `(?<![^\\s.,:;!?'"(){}\\[\\]/|—–*_~-])([*_~])(?=\\S)(.+?)(?<=\\S)\\5(?=$|${EDGE}|[*_~])`,
  ].join("|"), "g",
);

function inline(world, text) {
  const nodes = [];
  let from = 0;
  for (const found of text.matchAll(INLINE)) {
    const [whole, code, inside, url, name, mark, marked] = found;
    nodes.push(...signs(unescape(text.slice(from, found.index))));
    from = found.index + whole.length;
    if (code !== undefined) nodes.push(el("code", {}, unescape(code)));
    else if (inside !== undefined) nodes.push(bracket(world, inside));
    else if (url !== undefined) nodes.push(anchor(unescape(url), unescape(url)));
    else if (name !== undefined) nodes.push(...signs(emoji(name, whole)));
    else nodes.push(el(MARKS[mark], {}, inline(world, marked)));
  }
  nodes.push(...signs(unescape(text.slice(from))));
  return nodes.filter((node) => node !== "");
}

function lines(world, text) {
  const nodes = [];
  let quote = null;
  for (const line of text.split("\n")) {
    const quoted = /^(&gt;|>) ?/.exec(line);
    if (quoted) {
      if (quote) quote.append(el("br"));
      else nodes.push((quote = el("blockquote")));
      quote.append(...inline(world, line.slice(quoted[0].length)));
    } else {
      if (nodes.length && !quote) nodes.push(el("br"));
      quote = null;
      nodes.push(...inline(world, line));
    }
  }
  return nodes;
}

export function mrkdwn(world, text) {
  return text.split(/```\n?([\s\S]*?)\n?```/).flatMap((part, index) =>
    index % 2 ? [el("pre", {}, unescape(part))] : part.trim() ? lines(world, part.replace(/^\n|\n$/g, "")) : []);
}

export function textObject(world, object) {
  if (!object) return [];
  return object.type === "mrkdwn" ? mrkdwn(world, object.text) : object.emoji === false ? signs(object.text) : plain(object.text);
}

export const words = (object) => (object ? object.text : "");

// -- rich text ---------------------------------------------------------------------------------------------------------

function leaf(world, element) {
  const kinds = {
    text: () => el("span", {}, signs(element.text)),
    link: () => anchor(element.url, element.text || element.url),
    user: () => mention(world, element.user_id),
    usergroup: () => el("span", { class: "mention" }, "@" + element.usergroup_id),
    channel: () => room(world, element.channel_id),
    emoji: () => el("span", {}, signs(emoji(element.name, `:${element.name}:`))),
    broadcast: () => el("span", { class: "mention" }, "@" + element.range),
    color: () => el("code", {}, element.value),
    date: () => el("time", {}, date(world, element.timestamp, element.format) ?? element.fallback ?? ""),
  };
  let node = kinds[element.type]?.() ?? "";
  const tags = { bold: "strong", italic: "em", strike: "s", underline: "u", code: "code" };
  for (const [style, tag] of Object.entries(tags)) if (element.style?.[style]) node = el(tag, {}, node);
  return node;
}

export function richText(world, part) {
  const leaves = () => part.elements.map((each) => leaf(world, each));
  switch (part.type) {
    case "rich_text_section":
      return el("div", { class: "prose" }, leaves());
    case "rich_text_preformatted":
      return el("pre", {}, leaves());
    case "rich_text_quote":
      return el("blockquote", { class: "prose" }, leaves());
    case "rich_text_list": {
      const items = part.elements.map((each) => el("li", {}, richText(world, each)));
      const start = part.offset ? part.offset + 1 : null;
      const list = el(part.style === "ordered" ? "ol" : "ul", { class: "rich-list", start }, items);
      list.style.marginInlineStart = `${(part.indent || 0) * 1.5}rem`;
      return list;
    }
    default:
      return el("div");
  }
}
