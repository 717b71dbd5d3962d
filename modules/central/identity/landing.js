// Sends the form with the token of the address, which it takes out of the address bar and the history.
"use strict";
const form = document.getElementById("form");
const error = document.getElementById("error");
const token = new URLSearchParams(location.search).get("token") || "";
history.replaceState(null, "", location.pathname);

form.addEventListener("submit", async (event) => {
  event.preventDefault();
  const button = form.querySelector("button");
  const body = { token };
  for (const [name, value] of new FormData(form)) if (value !== "") body[name] = value;
  button.disabled = true;
  error.textContent = "";
  try {
    const answer = await fetch(form.dataset.post + "?lang=" + form.dataset.lang, {
      method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(body),
    });
    const said = await answer.json();
    if (said.success) {
      form.hidden = true;
      document.getElementById("lead").hidden = true;
      document.getElementById("done").hidden = false;
      return;
    }
    error.textContent = Object.values(said.errors || {}).flat().join(" ") || said.message;
  } catch {
    error.textContent = form.dataset.failed;
  }
  button.disabled = false;
});
