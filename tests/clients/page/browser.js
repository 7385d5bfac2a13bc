// Looks at the page in a real Chromium: `browser.js open BASE` as anybody, `browser.js sign-in BASE USER PASSWORD`.
// With SCREENSHOTS=FOLDER it leaves a picture of each page there.
"use strict";
const axe = require("axe-core");
const puppeteer = require("puppeteer-core");

const PATHS = ["/", "/pipeline", "/pipeline/gold.eligibilites", "/quality", "/queries"];
const SCHEMES = ["light", "dark"];
const WIDTHS = { desktop: 1280, phone: 390 };

const problems = [];
let isOffline = false;
const [mode, base, user, password] = process.argv.slice(2);

function check(holds, what) {
  if (!holds) problems.push(what);
}

async function open(browser) {
  const page = await browser.newPage();
  page.on("console", (message) => {
    const expected = isOffline ? ["401", "ERR_INTERNET_DISCONNECTED"] : ["401"];
    if (message.type() === "error" && !expected.some((part) => message.text().includes(part))) problems.push(`console: ${message.text()}`);
  });
  page.on("pageerror", (error) => problems.push(`script: ${error}`));
  page.on("request", (request) => {
    const url = request.url();
    check(url.startsWith(base) || url.startsWith("data:"), `a request leaves the page: ${url}`);
  });
  return page;
}

// No serious violation, and nothing wider than the window, in each scheme and width.
async function looked(page, path, name) {
  for (const scheme of SCHEMES) {
    for (const [device, width] of Object.entries(WIDTHS)) {
      await page.emulateMediaFeatures([{ name: "prefers-color-scheme", value: scheme }]);
      await page.setViewport({ width, height: 900 });
      await page.goto(base + path, { waitUntil: "load" });
      const where = `${path} ${scheme} ${device}`;
      for (const details of await page.$$("details")) await details.evaluate((node) => { node.open = true; });
      await page.evaluate(axe.source);
      const found = await page.evaluate(() => window.axe.run(document, { resultTypes: ["violations"] }));
      for (const violation of found.violations) {
        if (!["serious", "critical"].includes(violation.impact)) continue;
        const nodes = violation.nodes.slice(0, 3).map((node) => node.html.slice(0, 200));
        problems.push(`${where}: ${violation.id}: ${violation.help}: ${nodes.join(" | ")}`);
      }
      const over = await page.evaluate(() => document.documentElement.scrollWidth - window.innerWidth);
      check(over <= 0, `${where}: ${over} pixels wider than the window`);
      if (process.env.SCREENSHOTS) {
        for (const details of await page.$$("details")) await details.evaluate((node) => { node.open = false; });
        await page.screenshot({ path: `${process.env.SCREENSHOTS}/${name}-${scheme}-${device}.png`, fullPage: true });
      }
    }
  }
}

// The best of some loads: others use the machine too.
async function firstPaint(page) {
  const paints = [];
  for (let load = 0; load < 12; load += 1) {
    await page.goto(base, { waitUntil: "load" });
    paints.push(await page.evaluate(() => new Promise((resolve) => {
      const told = performance.getEntriesByName("first-contentful-paint")[0];
      if (told) resolve(told.startTime);
      else new PerformanceObserver((list, observer) => {
        for (const entry of list.getEntriesByName("first-contentful-paint")) { observer.disconnect(); resolve(entry.startTime); }
      }).observe({ type: "paint", buffered: true });
    })));
  }
  paints.sort((a, b) => a - b);
  console.log(`first paint: best ${paints[0].toFixed(0)} ms, median ${paints[paints.length >> 1].toFixed(0)} ms`);
  check(paints[0] > 0, "nothing was painted");
}

async function keyboard(page) {
  await page.goto(base, { waitUntil: "load" });
  await page.keyboard.press("Tab");
  const first = await page.evaluate(() => document.activeElement.className);
  check(first === "skip", `the first stop of the keyboard is ${first}`);
  await page.keyboard.press("Enter");
  const then = await page.evaluate(() => document.activeElement.id);
  check(then === "main", `the skip link leads to ${then}`);
}

// A new epoch is shown without a reload.
async function live(page) {
  await page.goto(base, { waitUntil: "load" });
  const before = await page.evaluate(() => { window.same = true; return document.getElementById("epoch").textContent; });
  try {
    await page.waitForFunction((shown) => document.getElementById("epoch").textContent !== shown, { timeout: 60000 }, before);
  } catch {
    problems.push("no new epoch is shown without a reload");
  }
  check(await page.evaluate(() => window.same === true), "the page was loaded again");
}

// What cannot be kept up to date says so, until it can.
async function stale(page) {
  const told = (isTold) => page.waitForFunction(
    (wanted) => (document.getElementById("live-status").textContent !== "") === wanted, { timeout: 60000 }, isTold,
  ).catch(() => problems.push(isTold ? "a stale page says nothing" : "a page that is up to date says that it is not"));
  isOffline = true;
  await page.setOfflineMode(true);
  await told(true);
  await page.setOfflineMode(false);
  await told(false);
  isOffline = false;
}

async function withoutScript(page) {
  await page.setJavaScriptEnabled(false);
  await page.goto(`${base}/?bu=Marketing`, { waitUntil: "load" });
  const text = await page.$eval("main", (main) => main.innerText);
  check(text.includes("Marketing"), "the page is empty without script");
  await page.setJavaScriptEnabled(true);
}

async function opened(browser) {
  const page = await open(browser);
  await page.goto(base, { waitUntil: "load" });
  const why = await page.$eval("#people a[href^='/why/']", (link) => new URL(link.href).pathname);
  await keyboard(page);
  await live(page);
  await stale(page);
  await withoutScript(page);
  for (const path of [...PATHS, why]) await looked(page, path, path.split("/").filter(Boolean)[1] ?? (path.slice(1) || "benefits"));
  const filtered = await page.goto(`${base}/?bu=Marketing`, { waitUntil: "load" });
  check(filtered.status() === 200, "a filter is refused");
}

async function signedIn(browser) {
  const page = await open(browser);
  await page.goto(`${base}/pipeline`, { waitUntil: "load" });
  check(page.url().includes("/login"), `nobody signed in and ${page.url()} is shown`);
  await looked(page, "/login", "login");
  await page.goto(`${base}/pipeline`, { waitUntil: "load" });
  for (const [typed, where] of [["wrong", "/login"], [password, "/pipeline"]]) {
    await page.type("#user", user);
    await page.type("#password", typed);
    await Promise.all([page.waitForNavigation({ waitUntil: "load" }), page.click(".sign-in button")]);
    check(new URL(page.url()).pathname === where, `signing in leads to ${page.url()}`);
  }
  await firstPaint(page);
  for (const path of PATHS) await looked(page, path, `${user}-${path.split("/").filter(Boolean).join("-") || "benefits"}`);
  await page.goto(base, { waitUntil: "load" });
  await Promise.all([page.waitForNavigation({ waitUntil: "load" }), page.click(".who button")]);
  await page.goto(base, { waitUntil: "load" });
  check(page.url().includes("/login"), "signing out ends nothing");
}

(async () => {
  const browser = await puppeteer.launch({
    executablePath: process.env.CHROMIUM,
    args: ["--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--lang=fr"],
  });
  try {
    if (mode === "sign-in") await signedIn(browser);
    else await opened(browser);
  } finally {
    await browser.close();
  }
  for (const problem of problems) console.error(problem);
  process.exit(problems.length === 0 ? 0 : 1);
})().catch((error) => { console.error(error); process.exit(2); });
