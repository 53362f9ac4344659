// The interactive page: reads openapi.json beside it and shows it. Text enters the document only as text, never as markup,
// and nothing is read from the page's own address, so no link can make it show or call another server.
"use strict";

const BASE = new URL(".", window.location.origin + window.location.pathname);
const POLL_MS = 3000;
const SHOWN_CHARS = 200000;
const PRETTY_CHARS = 1000000;
const LINE_CHARS = 88;
const PICTURE_PIXELS = 2048;
const TINY_PIXELS = 64;
const ENLARGED_PIXELS = 128;
const FORM = "multipart/form-data";

const byId = (id) => document.getElementById(id);
let loaded = false;

// ---- building blocks ----------------------------------------------------------------------------------------------------

function make(tag, options = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(options)) {
    if (name === "text") node.textContent = value;
    else if (name === "on") for (const [event, run] of Object.entries(value)) node.addEventListener(event, run);
    else node.setAttribute(name, value);
  }
  node.append(...children.filter((child) => child !== null && child !== undefined));
  return node;
}

function fold(title, text) {
  return make("details", {}, make("summary", { text: title }), make("pre", { tabindex: "0", text }));
}

// Indents JSON text without reading its numbers: JSON.parse would round large ones. Short lists stay on one line.
function pretty(text) {
  if (text.length > PRETTY_CHARS) return text;
  const tokens = text.match(/"(?:[^"\\]|\\.)*"|[{}[\],:]|[^\s{}[\],:"]+/g);
  if (!tokens) return text;
  let at = 0;
  const value = (indent) => {
    const open = tokens[at++];
    if (open !== "{" && open !== "[") return open;
    const close = open === "{" ? "}" : "]";
    const deeper = indent + "  ";
    const parts = [];
    while (at < tokens.length && tokens[at] !== close) {
      if (tokens[at] === ",") { at++; continue; }
      let part = value(deeper);
      if (open === "{" && tokens[at] === ":") { at++; part += ": " + value(deeper); }
      parts.push(part);
    }
    at++;
    const flat = open + parts.join(", ") + close;
    if (indent.length + flat.length <= LINE_CHARS && !flat.includes("\n")) return flat;
    return open + "\n" + wrapped(parts, deeper) + "\n" + indent + close;
  };
  try { return value(""); } catch { return text; }
}

// Numbers and short words run on in lines, as in a matrix; everything else has a line of its own.
function wrapped(parts, indent) {
  if (parts.some((part) => part.length > 24 || /[{["\n]/.test(part))) return parts.map((part) => indent + part).join(",\n");
  const lines = [];
  let line = "";
  for (const part of parts) {
    if (line && indent.length + line.length + part.length + 3 > LINE_CHARS) { lines.push(indent + line + ","); line = ""; }
    line += (line ? ", " : "") + part;
  }
  lines.push(indent + line);
  return lines.join("\n");
}

function isJson(media) { return /^application\/(?:[\w.+-]*\+)?json\b/i.test(media); }
function isText(media) { return isJson(media) || /^text\//i.test(media) || /x-ndjson/i.test(media); }
function size(bytes) { return bytes < 1000 ? bytes + " B" : bytes < 1e6 ? (bytes / 1e3).toFixed(1) + " kB" : (bytes / 1e6).toFixed(1) + " MB"; }
function time(ms) { return ms < 10 ? ms.toFixed(1) + " ms" : ms < 10000 ? Math.round(ms) + " ms" : (ms / 1000).toFixed(1) + " s"; }
function quote(text) { return "'" + text.replaceAll("'", "'\\''") + "'"; }

// ---- types --------------------------------------------------------------------------------------------------------------

function resolve(doc, schema, depth = 0) {
  if (!schema || typeof schema !== "object" || typeof schema.$ref !== "string" || depth > 8) return schema;
  let found = doc;
  for (const part of schema.$ref.replace(/^#\//, "").split("/")) {
    found = found && Object.hasOwn(found, part) ? found[part] : undefined;
  }
  return resolve(doc, found, depth + 1);
}

function typeText(doc, schema, depth = 0) {
  if (schema === undefined || schema === true || depth > 4) return "anything";
  if (schema["x-tiffin-type"]) return String(schema["x-tiffin-type"]);
  if (schema.$ref) {
    const name = schema.$ref.split("/").pop();
    const target = resolve(doc, schema);
    return target && target.type === "object" ? name : typeText(doc, target, depth + 1);
  }
  if ("const" in schema) return JSON.stringify(schema.const);
  if (schema.enum) return schema.enum.map((choice) => JSON.stringify(choice)).join(" | ");
  const options = schema.anyOf || schema.oneOf;
  if (options) return options.map((option) => typeText(doc, option, depth + 1)).join(" | ");
  if (Array.isArray(schema.type)) return schema.type.join(" | ");
  if (schema.type === "array") {
    if (schema.prefixItems) return "[" + schema.prefixItems.map((item) => typeText(doc, item, depth + 1)).join(", ") + "]";
    return "list of " + typeText(doc, schema.items, depth + 1);
  }
  if (schema.type === "object") {
    if (schema.title) return schema.title;
    if (schema.properties) return "object with " + Object.keys(schema.properties).join(", ");
    return "object" + (schema.additionalProperties ? " of " + typeText(doc, schema.additionalProperties, depth + 1) : "");
  }
  return (schema.type || "anything") + (schema.format ? " (" + schema.format + ")" : "");
}

const LIMITS = { minimum: "≥", exclusiveMinimum: ">", maximum: "≤", exclusiveMaximum: "<", multipleOf: "multiple of",
  minLength: "length ≥", maxLength: "length ≤", minItems: "items ≥", maxItems: "items ≤", pattern: "matches" };

function limits(schema) {
  if (!schema || typeof schema !== "object") return "";
  return Object.entries(LIMITS).filter(([key]) => key in schema).map(([key, words]) => words + " " + schema[key]).join(", ");
}

function isPlain(doc, schema) {
  const found = resolve(doc, schema);
  return !found || found === true || !(found.properties || found.anyOf || found.oneOf || found.prefixItems || found.items?.properties || found.items?.$ref);
}

function typeNode(doc, schema) {
  const found = resolve(doc, schema);
  const bounds = limits(found);
  return make("div", {},
    make("span", { class: "type", text: typeText(doc, schema) }),
    bounds ? make("span", { class: "note", text: "  " + bounds }) : null,
    found && found.description ? make("p", { class: "note", text: found.description }) : null,
    isPlain(doc, schema) ? null : fold("schema", pretty(JSON.stringify(found))));
}

function fieldNode(doc, name, schema, notes) {
  return make("div", { class: "field" },
    make("dt", {}, name, notes ? make("small", { text: notes }) : null),
    make("dd", {}, typeNode(doc, schema)));
}

// ---- one method ---------------------------------------------------------------------------------------------------------

function methodNode(doc, path, operation) {
  const facts = operation["x-tiffin"] || {};
  const bodies = operation.requestBody?.content || {};
  const answers = operation.responses?.["200"]?.content || {};
  const id = "method-" + (operation.operationId || path.slice(1));
  const tags = [
    facts.batchable && `batched, up to ${facts.max_batch_size} rows`,
    facts.one_row && "one row per call",
    facts.streams && "stream",
    facts.idempotent === false && "never run twice",
    facts.timeout_s && `${facts.timeout_s} s deadline`,
  ].filter(Boolean);
  const text = operation.description || "";
  return make("section", { class: "method", id, "aria-labelledby": id + "-title" },
    make("div", { class: "head" },
      make("span", { class: "verb", text: "POST" }),
      make("h3", { class: "route", id: id + "-title", text: path }),
      make("div", { class: "tags" }, ...tags.map((tag) => make("span", { class: "tag", text: tag })))),
    make("div", { class: "facts" },
      text ? make("p", { class: "doc", text }) : null,
      make("h4", { text: "Takes" }), takes(doc, bodies, facts.one_row),
      make("h4", { text: facts.streams ? "Answers with a stream of" : "Answers with" }), gives(doc, answers)),
    tryNode(doc, path, bodies, answers, facts.streams === true));
}

function takes(doc, bodies, oneRow) {
  const json = bodies[FORM] || bodies["application/json"];
  const whole = json ? resolve(doc, json.schema) : undefined;
  const list = make("dl", { class: "fields" });
  if (json && json["x-tiffin-fields"] && whole && whole.properties) {
    for (const [name, schema] of Object.entries(whole.properties)) {
      const needed = (whole.required || []).includes(name);
      const rows = !oneRow && (json["x-tiffin-batched"] || []).includes(name);  // of one row a client sends no list
      list.append(fieldNode(doc, name, schema, [needed ? "required" : "optional", rows && "rows"].filter(Boolean).join(" · ")));
    }
    if (!list.childElementCount) return make("p", { class: "fields note", text: "nothing" });
  } else if (json) {
    list.append(fieldNode(doc, "body", json.schema, "the whole body"));
  }
  const others = Object.keys(bodies).filter((media) => bodies[media] !== json);
  if (others.length) list.append(make("div", { class: "field" }, make("dt", {}, json ? "or" : "body"), make("dd", { class: "type", text: others.map((name) => name + bodyNote(name, bodies)).join(", ") })));
  return list;
}

// What a body of a type is beside a form, or beside JSON.
function bodyNote(media, bodies) {
  if (isJson(media)) return bodies[FORM] ? " (files in base64)" : "";
  return bodies[FORM] ? " (the file alone)" : "";
}

function gives(doc, answers) {
  const list = make("dl", { class: "fields" });
  for (const [media, content] of Object.entries(answers)) {
    list.append(make("div", { class: "field" },
      make("dt", { text: media }),
      make("dd", {}, typeNode(doc, content["x-tiffin-item"] || content.schema))));
  }
  return list;
}

// ---- trying it ----------------------------------------------------------------------------------------------------------

function exampleText(media, content) {
  const example = content?.example;
  if (example === undefined) return "";
  return isJson(media) ? pretty(JSON.stringify(example)) : String(example);
}

function tryNode(doc, path, bodies, answers, streams) {
  const url = new URL(path.replace(/^\/+/, ""), BASE);
  const medias = Object.keys(bodies).length ? Object.keys(bodies) : ["application/json"];
  const choose = (names) => make("select", {}, ...names.map((name) => make("option", { value: name, text: name })));
  const media = choose(medias);
  if (medias.includes(FORM)) media.value = FORM;
  const accept = choose(["", ...Object.keys(answers)]);
  accept.options[0].textContent = "whatever fits";
  const deadline = make("input", { type: "number", min: "1", step: "1", placeholder: "default", inputmode: "numeric" });
  const text = make("textarea", { spellcheck: "false", autocomplete: "off", autocapitalize: "off" });
  const file = make("input", { type: "file" });
  const hint = make("p", { class: "hint", role: "status" });
  const send = make("button", { type: "submit", class: "send", text: "Send" });
  const stop = make("button", { type: "button", class: "plain", text: "Stop", hidden: "" });
  const reset = make("button", { type: "button", class: "plain", text: "Example" });
  const curl = make("pre", { class: "wrap", tabindex: "0" });
  const copy = make("button", { type: "button", class: "plain small", text: "Copy" });
  const answer = make("div", { class: "answer", hidden: "" });
  const textLabel = make("label", {}, "Body", text);
  const chosen = make("div", { class: "pictures" });
  const fileLabel = make("label", {}, "Body from a file", file);
  const form = bodies[FORM] ? formFields(doc, bodies[FORM]) : null;
  let running = null;

  const content = () => bodies[media.value];
  const byForm = () => media.value === FORM;
  // A table of text can be pasted or chosen; what is chosen goes before.
  const either = () => /^text\/csv\b/i.test(media.value);
  const byFile = () => (either() ? file.files.length > 0 : !isText(media.value) && !byForm());
  // A pattern such as image/* is no type that a request can have: the file's own is sent.
  const bodyType = () => (media.value.includes("*") ? file.files[0]?.type || "application/octet-stream" : media.value);
  const hasExample = () => (byForm() ? form.hasExample : !byFile() && content()?.example !== undefined) || either();
  const headers = () => {
    const lines = byForm() ? {} : { "content-type": bodyType() };  // the browser names a form's boundary
    if (accept.value) lines.accept = accept.value;
    if (deadline.value && deadline.checkValidity()) lines["tiffin-timeout-ms"] = deadline.value;
    return lines;
  };
  const refresh = () => {
    textLabel.hidden = byFile() || byForm();
    fileLabel.hidden = !byFile() && !either();
    fileLabel.firstChild.data = either() && !byFile() ? "Or from a file" : "Body from a file";
    chosen.hidden = !byFile();
    reset.textContent = hasExample() ? "Example" : "Clear";
    if (form) form.node.hidden = !byForm();
    hint.textContent = content()?.example === undefined && isText(media.value) && !text.value
      ? "The smallest body is too large to show here: paste one, or send a file with curl." : "";
    if (isJson(media.value) && text.value) {
      try { JSON.parse(text.value); } catch (error) { hint.textContent = "Not JSON yet: " + error.message; }
    }
    if (byForm()) hint.textContent = form.problem();
    if (byFile() && !file.files.length) hint.textContent = "Choose a file.";
    const body = byFile() ? "@" + (file.files[0]?.name || "FILE") : text.value;
    const data = byForm() ? form.words() : [(byFile() || body.startsWith("@") ? "--data-binary " : "--data-raw ") + quote(shorter(body))];
    curl.textContent = ["curl" + (streams ? " -N" : ""), quote(url.href),
      ...Object.entries(headers()).map(([name, value]) => "-H " + quote(name + ": " + value)),
      ...data].join(" \\\n  ");
  };
  const fill = () => {
    text.value = exampleText(media.value, content());
    text.rows = Math.min(16, Math.max(3, text.value.split("\n").length));
    refresh();
  };
  const submit = async (event) => {
    event.preventDefault();
    if (running) return;
    running = new AbortController();
    send.disabled = true;
    stop.hidden = false;
    try {
      const body = byForm() ? form.data() : byFile() ? file.files[0] || "" : text.value;
      await call(url, { method: "POST", headers: headers(), body, signal: running.signal, credentials: "same-origin", redirect: "error" }, streams, answer);
    } finally {
      running = null;
      send.disabled = false;
      stop.hidden = true;
    }
  };
  const node = make("form", { class: "try", autocomplete: "off", on: { submit } },
    make("div", { class: "settings" },
      make("label", {}, "Body type", media),
      make("label", {}, "Answer type", accept),
      make("label", {}, "Deadline, ms", deadline)),
    textLabel, fileLabel, chosen, form ? form.node : null, hint,
    make("div", { class: "actions" }, send, stop, reset, make("span", { class: "keys", text: "Ctrl + Enter sends" })),
    make("div", { class: "curl" },
      make("div", { class: "curl-head" }, make("h4", { text: "The same with curl" }), copy), curl),
    answer);
  media.addEventListener("change", () => {
    if (!running) answer.hidden = true;  // it is none to what is asked now
    file.value = "";
    chosen.replaceChildren();
    fill();
  });
  for (const input of [accept, deadline, text, file]) input.addEventListener("input", refresh);
  text.addEventListener("keydown", (event) => {
    if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) { event.preventDefault(); node.requestSubmit(); }
  });
  stop.addEventListener("click", () => running?.abort());
  reset.addEventListener("click", () => { form?.reset(); file.value = ""; chosen.replaceChildren(); fill(); });
  copy.addEventListener("click", () => copyText(curl, copy));
  file.addEventListener("change", () => preview(chosen, file.files));
  if (form) form.node.addEventListener("input", refresh);
  fill();
  return node;
}

// ---- files --------------------------------------------------------------------------------------------------------------

// The inputs of a form: a picker for each file, a line or a text area for each other field.
function formFields(doc, content) {
  const schema = resolve(doc, content.schema) || {};
  const required = schema.required || [];
  const examples = content["x-tiffin-example"] || {};
  const fields = Object.entries(schema.properties || {}).map(([name, raw]) => {
    const shown = resolve(doc, raw) || {};
    const one = shown.type === "array" && shown.items ? shown.items : shown;
    const isFile = one.format === "binary";
    const asJson = Boolean(content.encoding?.[name]);
    const start = examples[name] === undefined ? "" : asJson ? JSON.stringify(examples[name]) : String(examples[name]);
    const input = isFile ? make("input", { type: "file", name }) : make("textarea", { name, rows: "1", spellcheck: "false", placeholder: asJson ? "JSON" : "text" });
    if (isFile && one !== shown) input.multiple = true;
    if (isFile && one.contentMediaType) input.accept = one.contentMediaType;
    if (!isFile) input.value = start;
    const pictures = make("div", { class: "pictures" });
    if (isFile) input.addEventListener("change", () => preview(pictures, input.files));
    return { name, input, isFile, asJson, start, pictures, needed: required.includes(name) };
  });
  const given = (field) => (field.isFile ? field.input.files.length > 0 : field.input.value !== "" || (field.needed && !field.asJson));
  return {
    hasExample: fields.some((field) => field.start !== ""),
    node: make("div", { class: "form-fields" }, ...fields.map((field) => make("div", {},
      make("label", {}, field.name + (field.needed ? "" : " (optional)"), field.input), field.pictures))),
    problem() {
      for (const field of fields) {
        if (field.isFile && field.needed && !given(field)) return `Choose a file for ${field.name}.`;
        if (!field.isFile && field.asJson && given(field)) {
          try { JSON.parse(field.input.value); } catch (error) { return `${field.name} is not JSON yet: ${error.message}`; }
        }
      }
      return "";
    },
    data() {
      const data = new FormData();
      for (const field of fields.filter(given)) {
        if (field.isFile) for (const file of field.input.files) data.append(field.name, file);
        else data.append(field.name, field.input.value);
      }
      return data;
    },
    words() {
      return fields.filter((field) => given(field) || field.needed).flatMap((field) => {
        if (!field.isFile) return ["--form-string " + quote(field.name + "=" + field.input.value)];
        const files = field.input.files.length ? [...field.input.files] : [{ name: "FILE" }];
        return files.map((file) => "-F " + quote(`${field.name}=@"${file.name.replace(/["\\]/g, "\\$&")}"`));
      });
    },
    reset() {
      for (const field of fields) { field.input.value = field.isFile ? "" : field.start; field.pictures.replaceChildren(); }
    },
  };
}

function preview(node, files) {
  node.replaceChildren();
  for (const file of [...files].slice(0, 8)) picture(file, file.name).then((shown) => shown && node.append(shown));
}

// A picture is drawn on a canvas: its bytes become pixels, never a document, and the page's policy needs no blob: images.
async function picture(blob, name) {
  try {
    const bitmap = await createImageBitmap(blob);
    const side = Math.max(bitmap.width, bitmap.height);
    // What a network sees is often too small for an eye: whole pixels are drawn larger.
    const scale = side < TINY_PIXELS ? Math.floor(ENLARGED_PIXELS / side) : Math.min(1, PICTURE_PIXELS / side);
    const canvas = make("canvas", { class: "picture", role: "img", "aria-label": name });
    canvas.width = Math.max(1, Math.round(bitmap.width * scale));
    canvas.height = Math.max(1, Math.round(bitmap.height * scale));
    const pen = canvas.getContext("2d");
    pen.imageSmoothingEnabled = scale < 1;
    pen.drawImage(bitmap, 0, 0, canvas.width, canvas.height);
    const facts = make("figcaption", { class: "quiet", text: `${name} · ${bitmap.width} × ${bitmap.height} · ${size(blob.size)}` });
    bitmap.close();
    return make("figure", {}, canvas, facts);
  } catch {
    return null;  // no picture, or none that the browser reads
  }
}

const links = [];  // of the answers that are shown; their files stay in memory as long

function download(blob, name) {
  const href = URL.createObjectURL(new Blob([blob], { type: "application/octet-stream" }));  // saved, never shown as a page
  links.push(href);
  while (links.length > 32) URL.revokeObjectURL(links.shift());
  return make("a", { class: "download", href, download: name, text: `Save ${name} (${size(blob.size)})` });
}

function suffixOf(media) {
  const known = { "image/jpeg": ".jpg", "audio/mpeg": ".mp3", "text/csv": ".csv", "application/x-npy": ".npy", "application/json": ".json" };
  const name = media.split(";")[0].trim().toLowerCase();
  const plain = /^(?:image|audio|video)\/([a-z0-9]{2,5})$/.exec(name);
  return known[name] || (plain ? "." + plain[1] : ".bin");
}

async function fileNode(bytes, media, name) {
  const blob = new Blob([bytes], { type: media.split(";")[0] });
  const shown = /^image\//i.test(media) ? await picture(blob, name) : null;
  return make("div", { class: "file" }, shown, download(blob, name));
}

// Cuts a multipart answer into its parts: name, file name, type and bytes of each.
function partsOf(bytes, media) {
  const boundary = /boundary="?([^";]+)"?/i.exec(media)?.[1];
  if (!boundary) return [];
  const line = new TextEncoder().encode("--" + boundary);
  const places = [];
  for (let at = bytes.indexOf(line[0]); at >= 0; at = bytes.indexOf(line[0], at + 1)) {
    if (at + line.length <= bytes.length && line.every((byte, index) => bytes[at + index] === byte)) places.push(at);
  }
  return places.slice(0, -1).map((start, index) => {
    const part = bytes.subarray(start + line.length + 2, places[index + 1] - 2);
    let end = 0;
    while (end < part.length && !(part[end] === 13 && part[end + 1] === 10 && part[end + 2] === 13)) end++;
    const head = new TextDecoder().decode(part.subarray(0, end));
    const word = (pattern) => pattern.exec(head)?.[1] || "";
    return { name: word(/[; ]name="([^"]*)"/i), filename: word(/filename="([^"]*)"/i), type: word(/^content-type: *(.*)$/im).trim(), bytes: part.subarray(end + 4) };
  });
}

async function partNode(part) {
  const title = make("h4", { text: part.name });
  if (part.filename || !isText(part.type)) return make("section", { class: "part" }, title, await fileNode(part.bytes, part.type, part.filename || part.name + suffixOf(part.type)));
  const text = new TextDecoder().decode(part.bytes);
  return make("section", { class: "part" }, title, make("pre", { class: "wrap", tabindex: "0", text: (isJson(part.type) ? pretty(text) : text).slice(0, SHOWN_CHARS) }));
}

// JSON in a shell line loses its indentation; everything else stays as it was typed.
function shorter(body) {
  if (!/^\s*[[{]/.test(body)) return body;
  try { JSON.parse(body); } catch { return body; }
  return body.replace(/"(?:[^"\\]|\\.)*"|\s+/g, (part) => (part[0] === '"' ? part : " ")).trim();
}

async function copyText(node, button) {
  try {
    await navigator.clipboard.writeText(node.textContent);
    button.textContent = "Copied";
  } catch {
    // A page that came over plain HTTP from another machine has no clipboard: select the line for the user's own Ctrl+C.
    window.getSelection().selectAllChildren(node);
    button.textContent = "Selected";
  }
  setTimeout(() => { button.textContent = "Copy"; }, 1500);
}

// ---- the answer ---------------------------------------------------------------------------------------------------------

async function call(url, request, streams, answer) {
  const status = make("span", { class: "status", "data-kind": "busy", text: "sending…" });
  const facts = make("span", { class: "quiet" });
  const line = make("div", { class: "answer-line", role: "status" }, status, facts);
  const body = make("pre", { class: "wrap", tabindex: "0", "aria-label": "Body of the answer" });
  answer.hidden = false;
  answer.replaceChildren(line);
  const start = performance.now();
  let bytes = 0;
  const say = (kind, text) => { status.dataset.kind = kind; status.textContent = text; };
  const done = (more) => { facts.textContent = [time(performance.now() - start), size(bytes), more].filter(Boolean).join(" · "); };
  let code = "";
  try {
    const response = await fetch(url, request);
    code = `${response.status} ${response.statusText}`.trim();
    const media = response.headers.get("content-type") || "";
    const id = response.headers.get("x-request-id") || "";
    const kind = response.ok ? "good" : "bad";
    const live = response.ok && streams;
    say(live ? "busy" : kind, live ? code + " · streaming…" : code);
    facts.textContent = time(performance.now() - start);
    answer.append(fold("Headers", [...response.headers].map(([name, value]) => name + ": " + value).join("\n")), body);
    const chunks = [];
    const decoder = new TextDecoder();
    let all = "";
    let shown = 0;
    const textual = isText(media);
    const reader = response.body.getReader();
    for (;;) {
      const { done: ended, value } = await reader.read();
      if (ended) break;
      bytes += value.length;
      if (!textual) { chunks.push(value); continue; }
      const piece = decoder.decode(value, { stream: true });
      if (isJson(media)) { all += piece; continue; }
      if (shown < SHOWN_CHARS) {
        const follow = body.scrollHeight - body.scrollTop - body.clientHeight < 40;
        body.append(piece.slice(0, SHOWN_CHARS - shown));
        if (follow) body.scrollTop = body.scrollHeight;
      }
      shown += piece.length;
      done("");
    }
    if (isJson(media)) { all = pretty(all); body.textContent = all.slice(0, SHOWN_CHARS); shown = all.length; body.className = ""; }
    if (shown > SHOWN_CHARS) body.append(`\n… ${size(shown - SHOWN_CHARS)} more are not shown`);
    if (!textual) await binary(answer, body, chunks, media);
    if (textual && !bytes) body.textContent = "(empty)";
    say(kind, code);
    done(id && "request " + id);
  } catch (error) {
    const stopped = error.name === "AbortError";
    say(stopped ? "busy" : "bad", stopped ? "stopped" : code ? code + " · broken off" : "no answer");
    done(stopped ? "" : String(error.message || error));
  }
}

async function binary(answer, body, chunks, media) {
  const blob = new Blob(chunks);
  if (/^multipart\/form-data/i.test(media)) {
    const nodes = await Promise.all(partsOf(new Uint8Array(await blob.arrayBuffer()), media).map(partNode));
    body.replaceWith(make("div", { class: "parts" }, ...nodes));
    return;
  }
  const name = "answer" + suffixOf(media);
  const shown = /^image\//i.test(media) ? await picture(new Blob(chunks, { type: media }), name) : null;
  if (shown) body.replaceWith(shown);
  else {
    const head = chunks.length ? [...chunks[0].slice(0, 96)].map((byte) => byte.toString(16).padStart(2, "0")).join(" ") : "(empty)";
    body.textContent = head + (blob.size > 96 ? " …" : "");
  }
  answer.append(download(blob, name));
}

// ---- the page -----------------------------------------------------------------------------------------------------------

function show(doc) {
  const info = doc.info || {};
  byId("title").textContent = info.title || "Tiffin";
  byId("version").textContent = info.version ? "on Tiffin " + info.version : "";
  document.title = (info.title || "service") + " · Tiffin";
  byId("about").textContent = info.description || "";
  byId("about").hidden = !info.description;
  const methods = byId("methods");
  const list = byId("index-list");
  methods.replaceChildren();
  list.replaceChildren();
  for (const [path, item] of Object.entries(doc.paths || {})) {
    if (!item.post || !item.post["x-tiffin"]) continue;
    const node = methodNode(doc, path, item.post);
    methods.append(node);
    const link = make("a", { text: path });
    link.href = "#" + encodeURIComponent(node.id);
    list.append(make("li", {}, link));
  }
  byId("index").hidden = !list.childElementCount;
  const rows = byId("error-rows");
  rows.replaceChildren(...(doc["x-tiffin-codes"] || []).map((code) => make("tr", {},
    make("td", { text: code.status }), make("td", { text: code.code }), make("td", { text: code.meaning }),
    make("td", { text: code.retryable ? "yes" : "no" }))));
  byId("errors").hidden = !rows.childElementCount;
  if (window.location.hash) document.getElementById(decodeURIComponent(window.location.hash.slice(1)))?.scrollIntoView();
}

function complain(text) {
  byId("problem").textContent = text;
  byId("problem").hidden = !text;
}

async function load() {
  try {
    const response = await fetch(new URL("openapi.json", BASE), { cache: "no-store" });
    if (response.status === 503) { complain("The service is starting; this page fills as soon as it is known."); return; }
    if (!response.ok) { complain(`openapi.json answered ${response.status}.`); return; }
    show(await response.json());
    loaded = true;
    complain("");
  } catch (error) {
    complain("openapi.json cannot be read: " + error.message);
  }
}

function light(state, text) {
  const node = byId("light");
  // Told to a screen reader at a change only.
  if (node.dataset.state !== state) node.dataset.state = state;
  if (byId("light-text").textContent !== text) byId("light-text").textContent = text;
}

async function poll() {
  if (document.visibilityState !== "hidden") {
    try {
      const response = await fetch(new URL("readyz", BASE), { cache: "no-store", signal: AbortSignal.timeout(5000) });
      const status = await response.json().catch(() => ({}));
      const reason = String(status.reason || status.error?.message || "").slice(0, 160);
      if (response.ok) light("ready", "ready");
      else light("waiting", reason ? "not ready: " + reason : "not ready");
      if (!loaded) await load();
    } catch {
      light("gone", "no answer");
    }
  }
  setTimeout(poll, POLL_MS);
}

load().finally(poll);
