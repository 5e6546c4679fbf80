// Makes pages quicker; every one of them works without it.
const root = document.documentElement;
const announce = document.getElementById("announce");
const help = document.getElementById("help");
root.classList.add("js");

function say(text) {
  announce.textContent = "";
  requestAnimationFrame(() => { announce.textContent = text; });
}

// --- A part of a page, fetched as the whole page it belongs to

// XMLHttpRequest parses into an inert document: no markup ever passes through a string here.
function fetchPage(address) {
  return new Promise((resolve, reject) => {
    const request = new XMLHttpRequest();
    request.responseType = "document";
    request.open("GET", address);
    request.onload = () => (request.status === 200 && request.response ? resolve(request.response) : reject());
    request.onerror = reject;
    request.send();
  });
}

function replace(id, page) {
  const here = document.getElementById(id);
  const fresh = page.getElementById(id);
  if (!here || !fresh) return false;
  const focused = here.contains(document.activeElement) ? document.activeElement.getAttribute("href") : null;
  const node = document.importNode(fresh, true);
  here.replaceWith(node);
  if (focused) [...node.querySelectorAll("a")].find((a) => a.getAttribute("href") === focused)?.focus();
  return true;
}

// --- Filters: the list follows the fields

let latest = 0;
async function follow(form) {
  const id = form.dataset.live;
  const target = document.getElementById(id);
  if (!target) return form.submit();
  const query = new URLSearchParams();
  for (const [name, value] of new FormData(form)) if (value !== "") query.append(name, value);
  const address = location.pathname + (query.size ? "?" + query : "");
  const turn = ++latest;
  target.setAttribute("aria-busy", "true");
  try {
    const page = await fetchPage(address);
    if (turn !== latest) return;
    if (!replace(id, page)) throw 0;
    const count = page.querySelector("h1 .count");
    if (count) document.querySelector("h1 .count")?.replaceWith(document.importNode(count, true));
    for (const link of document.querySelectorAll("[hreflang]")) {
      link.href = page.querySelector(`[hreflang="${link.hreflang}"]`)?.href ?? link.href;
    }
    history.replaceState(null, "", address);
    say(announce.dataset.updated);
  } catch {
    if (turn === latest) location.assign(address);
  }
}

let typing;
document.addEventListener("input", (event) => {
  const form = event.target.closest?.("form[data-live]");
  if (!form) return;
  clearTimeout(typing);
  typing = setTimeout(follow, event.target.matches("select, [type=radio], [type=checkbox]") ? 0 : 400, form);
});

// --- Forms: one press is enough

document.addEventListener("submit", (event) => {
  const form = event.target;
  if (form.matches("form[data-live]")) {
    event.preventDefault();
    clearTimeout(typing);
    follow(form);
  } else if (form.method === "post") {
    if (form.dataset.sent) return event.preventDefault();
    form.dataset.sent = "1";
    (event.submitter ?? form.querySelector("button"))?.setAttribute("aria-busy", "true");
    say(announce.dataset.busy);
  }
});

// Coming back with the browser's own button finds the form ready again.
addEventListener("pageshow", () => {
  for (const form of document.querySelectorAll("form[data-sent]")) delete form.dataset.sent;
  for (const button of document.querySelectorAll("button[aria-busy]")) button.removeAttribute("aria-busy");
});

document.querySelector("[data-focus]")?.focus();

// --- Progress

async function refresh() {
  const part = document.querySelector("[data-refresh]");
  if (!part) return;
  let wait = Number(part.dataset.refresh) || 2;
  if (!document.hidden && !part.contains(document.activeElement)) {
    try {
      if (!replace(part.id, await fetchPage(location.href))) return location.reload();
      // The end of the work may have brought more than this part: show the whole page.
      if (!document.querySelector("[data-refresh]")) return location.reload();
    } catch {
      wait = 10;
    }
  }
  setTimeout(refresh, wait * 1000);
}
if (document.querySelector("[data-refresh]")) setTimeout(refresh, 1000);

// --- Small buttons, and the menu on a phone

document.querySelector(".mainnav [aria-current]")?.scrollIntoView({ block: "nearest", inline: "center" });

document.addEventListener("click", (event) => {
  const button = event.target.closest("button");
  if (button?.matches("[data-print]")) print();
  if (button?.matches("[data-help]")) help.showModal();
  if (button?.matches("[data-copy]")) {
    const source = document.getElementById(button.dataset.copy);
    navigator.clipboard?.writeText(source.value ?? source.textContent.trim()).then(() => say(announce.dataset.copied));
  }
  for (const menu of document.querySelectorAll("details.menu[open], details.reason[open]")) {
    if (!menu.contains(event.target)) menu.open = false;
  }
});

// --- Shortcuts, and their switch

const keys = document.querySelector("[data-shortcuts]");
keys.checked = !document.cookie.includes("shortcuts=off");
keys.addEventListener("change", () => {
  const [own, bound] = location.protocol === "https:" ? ["__Host-", "; secure"] : ["", ""];
  document.cookie = `${own}shortcuts=${keys.checked ? "on" : "off"}; path=/; max-age=31536000; samesite=lax${bound}`;
});

document.addEventListener("keydown", (event) => {
  if (event.key === "Escape") {
    const menu = document.querySelector("details.menu[open], details.reason[open]");
    if (menu) {
      menu.open = false;
      menu.querySelector("summary").focus();
    }
  }
  if (!keys.checked || event.ctrlKey || event.metaKey || event.altKey || event.isComposing) return;
  if (event.target.matches("input, select, textarea, [contenteditable]") || help.open) return;
  if (event.key === "/") {
    const search = document.querySelector("main [type=search]");
    if (!search) return;
    event.preventDefault();
    search.focus();
    search.select();
  } else if (event.key === "?") {
    event.preventDefault();
    help.showModal();
  }
});
