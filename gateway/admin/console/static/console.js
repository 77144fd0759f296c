// Small things that htmx does not do. Every page works without them.
"use strict";

// A link printed at the start carries the token behind #, which browsers send to nobody.
const form = document.getElementById("sign-in");
if (form && location.hash.length > 1) {
  form.elements.token.value = decodeURIComponent(location.hash.slice(1));
  history.replaceState(null, "", location.pathname + location.search);
  form.elements.name.focus();
}

// A live list whose connection is lost says so; the stream says itself when it is live (again).
document.addEventListener("htmx:sseError", (lost) => {
  const state = lost.target.querySelector("[sse-swap=state]");
  if (state) state.textContent = "The connection is lost; trying again.";
});

// The live list keeps its newest rows only.
document.addEventListener("htmx:sseMessage", (message) => {
  const body = message.target.closest("[data-most]");
  if (body) {
    while (body.rows.length > Number(body.dataset.most)) body.deleteRow(-1);
  }
});
