// Signatures and registration with passkeys; reload of the incident page every 30 seconds.
//
// The script lets the device sign or create a passkey, and puts the result into the form that requests
// it. Without this script, or without passkeys in the browser, these forms stay hidden, and people use
// the passphrase instead.
"use strict";

const bytes = (text) =>
  Uint8Array.from(atob(text.replaceAll("-", "+").replaceAll("_", "/")), (c) => c.charCodeAt(0));
const text = (buffer) =>
  btoa(String.fromCharCode(...new Uint8Array(buffer)))
    .replaceAll("+", "-").replaceAll("/", "_").replaceAll("=", "");
const named = (ids) =>
  (ids || "").split(" ").filter(Boolean).map((id) => ({ type: "public-key", id: bytes(id) }));

async function signed(asked, challenge) {
  const { rawId, response } = await navigator.credentials.get({
    publicKey: {
      challenge: bytes(challenge),
      rpId: asked.site,
      allowCredentials: named(asked.passkeys),
      userVerification: "required",
    },
  });
  return {
    id: text(rawId),
    client: text(response.clientDataJSON),
    device: text(response.authenticatorData),
    signature: text(response.signature),
  };
}

async function made(asked, challenge) {
  const { response } = await navigator.credentials.create({
    publicKey: {
      challenge: bytes(challenge),
      rp: { id: asked.site, name: "Standfast" },
      user: { id: bytes(asked.handle), name: asked.person, displayName: asked.person },
      pubKeyCredParams: asked.algorithms.split(" ").map((alg) => ({ type: "public-key", alg: Number(alg) })),
      authenticatorSelection: { residentKey: "required", userVerification: "required" },
      excludeCredentials: named(asked.passkeys),
      attestation: "none",
    },
  });
  return { client: text(response.clientDataJSON), attestation: text(response.attestationObject) };
}

const why = {
  InvalidStateError: "This device already has a passkey of yours.",
  NotAllowedError: "The device did not sign: it took too long, was cancelled, or has no passkey of yours.",
};

// The first submission of a form calls the device; the second one sends the form with its result.
document.addEventListener("submit", async (event) => {
  const form = event.target;
  const does = { get: signed, create: made }[form.dataset.passkey];
  if (!does) return;
  const button = event.submitter;
  if (form.dataset.stage === "answered") {
    form.dataset.stage = "sent";
    return;
  }
  event.preventDefault();
  if (form.dataset.stage) return;
  form.dataset.stage = "asked";
  const message = form.querySelector("[role=alert]");
  message.hidden = true;
  try {
    form.elements.passkey.value = JSON.stringify(await does(form.dataset, button.dataset.challenge));
    form.dataset.stage = "answered";
    form.requestSubmit(button);
  } catch (error) {
    form.dataset.stage = "";
    const instead = does === signed ? " Try again, or use the passphrase." : "";
    message.textContent = `${why[error.name] || `The device did not sign (${error.name}).`}${instead}`;
    message.hidden = false;
  }
});

// Reload a page that shows the state of an incident, but not while somebody types, signs or has scrolled
// down.
const bar = document.querySelector("[data-refresh]");
let isUsed = false;
for (const kind of ["input", "submit"]) document.addEventListener(kind, () => { isUsed = true; });
setInterval(() => {
  const there = `${bar?.dataset.refresh}?refresh`;
  const isSame = location.pathname + location.search === there;
  const isOpen = document.querySelector("details.stop[open]");
  if (!bar || isUsed || isOpen || document.hidden || (scrollY > 0 && !isSame)) return;
  if (isSame) location.reload();
  else location.replace(there);
}, 30000);

// Clear the forms of a page that the browser restores from its history: its signatures are used up.
addEventListener("pageshow", () => {
  if (!window.PublicKeyCredential || !HTMLFormElement.prototype.requestSubmit) return;
  for (const form of document.querySelectorAll("form[data-passkey]")) {
    form.elements.passkey.value = form.dataset.stage = "";
    form.hidden = false;
  }
  for (const sentence of document.querySelectorAll(".no-passkeys")) sentence.hidden = true;
  for (const other of document.querySelectorAll("details.without-passkey")) other.open = false;
});
