// Sends the form with the token of the address, which it takes out of the address bar and the list of pages visited. The tab keeps it,
// so that loading the page again loses nothing, and forgets it for what was done.
"use strict";
const form = document.getElementById("form");
const error = document.getElementById("error");
const button = form.querySelector("button");
const given = new URLSearchParams(location.search).get("token");
const kept = given ? { token: given } : history.state || {};
history.replaceState(kept, "", location.pathname);
if (kept.done) showDone();
else if (!kept.token) {
  error.textContent = form.dataset.incomplete;
  button.disabled = true;
}

function showDone() {
  form.hidden = true;
  document.getElementById("lead").hidden = true;
  document.getElementById("done").hidden = false;
}

form.addEventListener("submit", async (event) => {
  event.preventDefault();
  const body = { token: kept.token };
  for (const [name, value] of new FormData(form)) if (value !== "") body[name] = value;
  button.disabled = true;
  error.textContent = "";
  try {
    const answer = await fetch(form.dataset.post + "?lang=" + form.dataset.lang, {
      method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(body),
    });
    const said = await answer.json();
    if (said.success) {
      history.replaceState({ done: true }, "");
      showDone();
      return;
    }
    error.textContent = Object.values(said.errors || {}).flat().join(" ") || said.message;
  } catch {
    error.textContent = form.dataset.failed;
  }
  button.disabled = false;
});
