// Small things that htmx does not do. Every page works without them.
"use strict";

// A link printed at the start carries the token behind #, which browsers send to nobody.
const form = document.getElementById("sign-in");
if (form && location.hash.length > 1) {
  form.elements.token.value = decodeURIComponent(location.hash.slice(1));
  history.replaceState(null, "", location.pathname + location.search);
  form.requestSubmit();
}

// Keys, for who has them: `/` searches, `j` and `k` go through a list, `?` says so. Never while something is typed.
const walk = (by) => {
  const links = [...document.querySelectorAll("table.rows tbody tr")].map((row) => row.querySelector("a")).filter(Boolean);
  const row = document.activeElement.closest("tr");
  const at = links.findIndex((link) => link.closest("tr") === row);
  const next = links[at < 0 ? 0 : Math.min(links.length - 1, Math.max(0, at + by))];
  if (next) next.focus();
};
document.addEventListener("keydown", (key) => {
  if (key.ctrlKey || key.metaKey || key.altKey || key.target.closest("input, textarea, select, [contenteditable]")) return;
  const box = document.getElementById("search");
  const help = document.getElementById("keys");
  if (key.key === "/" && box) {
    box.focus();
    box.select();
  } else if (key.key === "j") walk(1);
  else if (key.key === "k") walk(-1);
  else if (key.key === "?" && help && !help.open) help.showModal();
  else return;
  key.preventDefault();
});

// Ages go on: `3 s ago` is not true for long.
const words = (seconds) => {
  for (const [unit, size, until] of [["s", 1, 120], ["min", 60, 7200], ["h", 3600, 172800]]) {
    if (seconds < until) return `${Math.round(seconds / size)} ${unit}`;
  }
  return `${Math.round(seconds / 86400)} d`;
};
setInterval(() => document.querySelectorAll("time[data-age]").forEach((age) => {
  const seconds = (Date.now() - Date.parse(age.dateTime)) / 1000;
  age.textContent = seconds >= 0 ? `${words(seconds)} ago` : `in ${words(-seconds)}`;
}), 5000);

// What is there to be copied has a button for it.
document.querySelectorAll("pre[data-copy]").forEach((block) => {
  if (!navigator.clipboard) return;
  const button = document.createElement("button");
  button.className = "plain secondary";
  button.textContent = "Copy";
  button.addEventListener("click", () => navigator.clipboard.writeText(block.textContent).then(() => { button.textContent = "Copied"; }));
  block.before(button);
});

// A live list whose connection is lost says so; the stream says itself when it is live (again).
document.addEventListener("htmx:sseError", (lost) => {
  const state = lost.target.querySelector("[sse-swap=state]");
  if (state) state.textContent = "The connection is lost; trying again.";
});

// A page that renews itself says when it cannot any more, and since when it stands still.
const renewed = document.querySelector("[data-renewed]");
if (renewed) {
  let last = new Date();
  const stale = (event) => {
    if (event.target.closest("[data-renewed]") !== renewed) return;
    document.getElementById("stale").textContent = `Not renewed since ${last.toISOString().slice(11, 19)} UTC: the gateway does not answer.`;
  };
  document.addEventListener("htmx:sendError", stale);
  document.addEventListener("htmx:responseError", stale);
  document.addEventListener("htmx:timeout", stale);
  document.addEventListener("htmx:afterSwap", (event) => {
    if (event.target !== renewed) return;
    last = new Date();
    document.getElementById("stale").textContent = "";
  });
}

// The live list keeps its newest rows only.
document.addEventListener("htmx:sseMessage", (message) => {
  const body = message.target.closest("[data-most]");
  if (body) {
    while (body.rows.length > Number(body.dataset.most)) body.deleteRow(-1);
  }
});

// The playground's draft offers the fields of its events, once `object.` is typed.
const draft = document.querySelector("[data-completes]");
if (draft) {
  const list = document.getElementById(draft.dataset.completes);
  let asked = 0;
  let chosen = 0;

  const before = () => draft.value.slice(0, draft.selectionStart);
  const typed = () => (before().match(/(?:event\.data\.object|\bobject|\bprevious)(?:\.\w+|\[\d+\])*\.\w*$/) || [""])[0];

  // The types of the route that is being written, else of the event beside it.
  const types = () => {
    const last = [...before().matchAll(/\bevents:([^\]\n]*|(?:\s*\n\s*-[^\n]*)+)/g)].pop();
    const named = last ? last[1].match(/[\w.*[\]]+\.[\w.*[\]]+/g) : null;
    if (named) return named.map((name) => name.replace(/^\[/, ""));
    const event = draft.form.elements.event.value.match(/"type"\s*:\s*"([\w.]+\.[\w.[\]]+)"/g) || [];
    return event.slice(-1).map((pair) => pair.split('"')[3]);
  };

  const close = () => {
    list.hidden = true;
    draft.removeAttribute("aria-activedescendant");
  };

  const choose = (index) => {
    chosen = (index + list.children.length) % list.children.length;
    [...list.children].forEach((item, at) => item.setAttribute("aria-selected", String(at === chosen)));
    draft.setAttribute("aria-activedescendant", list.children[chosen].id);
    list.children[chosen].scrollIntoView({block: "nearest"});
  };

  const take = (item) => {
    const word = typed().match(/\w*$/)[0];
    draft.setRangeText(item.dataset.name, draft.selectionStart - word.length, draft.selectionStart, "end");
    draft.focus();
    close();
  };

  const offer = async () => {
    const path = typed();
    const number = ++asked;
    if (!path) return close();
    const query = new URLSearchParams([...types().map((name) => ["type", name]), ["typed", path]]);
    const answer = await fetch(`/playground/fields?${query}`).catch(() => null);
    if (number !== asked) return undefined;
    const items = answer && answer.ok ? await answer.json() : [];
    if (!items.length || typed() !== path) return close();
    list.replaceChildren(...items.map((field, at) => {
      const item = document.createElement("li");
      item.id = `field-${at}`;
      item.dataset.name = field.name;
      item.setAttribute("role", "option");
      const name = document.createElement("code");
      name.textContent = field.name;
      const about = document.createElement("small");
      about.textContent = [field.type, field.note].filter(Boolean).join(" · ");
      item.append(name, about);
      item.addEventListener("mousedown", (pressed) => {
        pressed.preventDefault();
        take(item);
      });
      return item;
    }));
    list.hidden = false;
    return choose(0);
  };

  document.getElementById("completes").hidden = false;
  draft.setAttribute("aria-autocomplete", "list");
  draft.setAttribute("aria-controls", list.id);
  draft.addEventListener("input", offer);
  draft.addEventListener("blur", close);
  draft.addEventListener("keydown", (key) => {
    if (list.hidden) return;
    if (key.key === "Escape") close();
    else if (key.key === "ArrowDown") choose(chosen + 1);
    else if (key.key === "ArrowUp") choose(chosen - 1);
    else if (key.key === "Enter" && !typed().endsWith(`.${list.children[chosen].dataset.name}`)) take(list.children[chosen]);
    else return;
    key.preventDefault();
  });
}
