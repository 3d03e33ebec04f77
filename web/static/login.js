"use strict";
// The login page: sends name and password as the API takes them, then shows the page that was asked for.
(() => {
  const form = document.getElementById("login");
  const refusal = document.getElementById("refusal");
  const button = form.querySelector("button");
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    refusal.textContent = "";
    button.disabled = true;
    try {
      const body = JSON.stringify(Object.fromEntries(new FormData(form)));
      const answer = await fetch("/login", { method: "POST", headers: { "Content-Type": "application/json" }, body });
      if (answer.ok) return location.reload();
      const wait = answer.headers.get("Retry-After");
      if (answer.status === 429) refusal.textContent = form.dataset.wait.replace("{seconds}", wait);
      else refusal.textContent = answer.status === 401 ? form.dataset.wrong : form.dataset.failed;
    } catch {
      refusal.textContent = form.dataset.failed;
    }
    button.disabled = false;
    form.elements.password.select();
  });
})();
