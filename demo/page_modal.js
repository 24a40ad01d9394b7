// The modal on top of the person's stack, and the confirm dialog before a press. Both are native dialogs, which keep the
// focus inside and the rest of the page inert.

import { Fields, renderBlocks, showErrors } from "/page_blocks.js";
import { el, plain, textObject, words } from "/page_text.js";

const dialog = document.getElementById("modal");
let shown = null; // the view on screen: { id, hash, fields }

export function drawModal(world, hands) {
  const view = world.modal;
  if (!view) {
    shown = null;
    if (dialog.open) dialog.close();
    return;
  }
  if (shown?.id !== view.id || shown.hash !== view.hash) build(world, view, hands);
  showErrors(dialog, view.errors);
  showFailure(view.failed);
}

function build(world, view, hands) {
  const again = shown?.id === view.id;
  const kept = again ? shown.fields.values() : null; // what was typed survives an update of the same view
  const fields = new Fields();
  shown = { id: view.id, hash: view.hash, fields };
  const context = {
    world, fields, kept, key: view.id, values: view.state.values, live: true,
    press: (block, element, value, node) => hands.press({ view: view.id, values: fields.values() }, block, element, value, node),
  };
  const form = el("form", { novalidate: true, "data-view-id": view.id, "data-callback-id": view.callback_id },
    el("div", { class: "modal-head" }, el("h2", { id: "modal-title" }, plain(words(view.title))),
      el("button", { type: "button", class: "icon", "aria-label": "Close", onclick: () => hands.close(view) }, "✕")),
    el("div", { class: "modal-body" }, el("p", { class: "error banner", id: "modal-failed", role: "alert", hidden: true }),
      renderBlocks(context, view.blocks)),
    el("div", { class: "modal-foot" },
      el("button", { type: "button", class: "btn", "data-testid": "modal-close", onclick: () => hands.close(view) },
        plain(words(view.close) || (view.depth > 1 ? "Back" : "Cancel"))),
      view.submit ? el("button", { type: "submit", class: "btn primary", "data-testid": "modal-submit" }, plain(words(view.submit))) : null));
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    submit(view, fields, form, hands);
  });
  const focused = again ? document.activeElement?.id : null;
  dialog.replaceChildren(form);
  if (!dialog.open) dialog.showModal();
  const target = (focused && document.getElementById(focused))
    || form.querySelector("[autofocus]") || form.querySelector(".modal-body :is(input, select, textarea)");
  target?.focus();
}

async function submit(view, fields, form, hands) {
  const send = form.querySelector("[type=submit]");
  if (send.disabled) return;
  send.disabled = true;
  send.setAttribute("aria-busy", "true");
  const said = await hands.submit(view, fields.values());
  send.disabled = false;
  send.removeAttribute("aria-busy");
  if (shown?.id !== view.id || !said) return;
  showErrors(dialog, said.errors);
  showFailure(said.error);
  dialog.querySelector("[aria-invalid=true]")?.focus();
}

function showFailure(message) {
  const place = document.getElementById("modal-failed");
  if (!place || place.textContent === (message || "")) return;
  place.textContent = message || "";
  place.hidden = !message;
}

export function watchModal(hands) {
  // Escape asks the app first, as the cross does; a browser that insists closes the dialog and we follow.
  dialog.addEventListener("cancel", (event) => {
    event.preventDefault();
    if (shown) hands.close(shown);
  });
  dialog.addEventListener("close", () => {
    if (shown) hands.close(shown);
  });
}

export function confirmed(world, question) {
  const ask = document.getElementById("confirm");
  return new Promise((resolve) => {
    const answer = (yes) => () => {
      ask.onclose = null;
      if (ask.open) ask.close();
      resolve(yes);
    };
    const style = question.style === "danger" ? "danger" : "primary";
    ask.replaceChildren(
      el("div", { class: "modal-head" }, el("h2", { id: "confirm-title" }, plain(words(question.title)))),
      el("div", { class: "modal-body prose" }, textObject(world, question.text)),
      el("div", { class: "modal-foot" },
        el("button", { type: "button", class: "btn", "data-testid": "confirm-no", onclick: answer(false) }, plain(words(question.deny))),
        el("button", { type: "button", class: `btn ${style}`, "data-testid": "confirm-yes", onclick: answer(true) },
          plain(words(question.confirm)))));
    ask.onclose = answer(false);
    ask.showModal();
    ask.querySelector("[data-testid=confirm-no]").focus();
  });
}
