// Opens every page of a directory in Chromium and says what is wrong with it.
//
// Not here: what the pages say, which `cargo test` checks. With a second directory, pictures of
// what was seen go there. Exits 1 if one fact does not hold.
'use strict';

const fs = require('node:fs');
const path = require('node:path');
const { pathToFileURL } = require('node:url');
const { chromium } = require('playwright-core');

const BYTES_MAX = 300_000;
const WIDTHS = [390, 820, 1200];
// A4 less 14 mm on each side, in CSS pixels.
const SHEET = { width: 688, height: 1016 };

const [pages, pictures] = process.argv.slice(2);
const names = fs.readdirSync(pages).filter((name) => name.endsWith('.html')).sort();
const offences = [];

function check(holds, what) {
  if (!holds) offences.push(what);
}

// Opens one page; whatever it says or asks for beyond its own file is an offence.
async function open(browser, name, options) {
  const context = await browser.newContext(options);
  const page = await context.newPage();
  const url = pathToFileURL(path.join(pages, name)).href;
  page.on('request', (request) => {
    const wanted = request.url();
    check(wanted === url || wanted.startsWith('data:'), `${name}: asks for ${wanted}`);
  });
  page.on('pageerror', (error) => check(false, `${name}: ${error.message}`));
  page.on('console', (message) => check(false, `${name}: ${message.text()}`));
  page.on('dialog', (dialog) => {
    check(false, `${name}: a dialog opened`);
    dialog.dismiss();
  });
  await page.goto(url);
  return { context, page };
}

// What of the page lies where it should not.
function seen() {
  const shown = (element) => element.getClientRects().length > 0;
  const width = window.innerWidth;
  const charts = [...document.querySelectorAll('figure')];
  return {
    overflow: document.documentElement.scrollWidth - width,
    charts: charts.length,
    drawn: charts.filter((figure) => [...figure.querySelectorAll('.plot svg')].filter(shown).length === 1).length,
    text: Math.min(99, ...[...document.querySelectorAll('.plot svg')].filter(shown).map((svg) => {
      const text = svg.querySelector('text');
      const scale = svg.getBoundingClientRect().width / svg.viewBox.baseVal.width;
      return text ? parseFloat(getComputedStyle(text).fontSize) * scale : 99;
    })),
  };
}

async function look(page, name, width, colorScheme) {
  await page.setViewportSize({ width, height: 900 });
  await page.emulateMedia({ colorScheme });
  const what = `${name}, ${width} px, ${colorScheme}`;
  const found = await page.evaluate(seen);
  check(found.overflow <= 0, `${what}: ${found.overflow} px too wide`);
  check(found.drawn === found.charts, `${what}: ${found.drawn} of ${found.charts} charts drawn once`);
  check(found.text >= 10, `${what}: text of ${found.text.toFixed(1)} px in a chart`);
  if (pictures) {
    const file = path.join(pictures, `${name.replace('.html', '')}-${width}-${colorScheme}.png`);
    await page.screenshot({ path: file, fullPage: true });
  }
  return found.charts;
}

// Without script every chart is there all the same, as markup.
async function lookWithoutScript(browser, name, charts) {
  const { context, page } = await open(browser, name, { javaScriptEnabled: false });
  const figures = await page.locator('figure .plot').count();
  check(figures === charts, `${name}: ${figures} of ${charts} charts without script`);
  for (let index = 0; index < figures; index += 1) {
    const visible = await page.locator('figure .plot').nth(index).locator('svg:visible').count();
    check(visible === 1, `${name}: chart ${index + 1} is not to be seen without script`);
  }
  await context.close();
}

// The crosshair shows a row of the table behind the chart, by pointer and by keyboard.
async function lookAtTooltip(browser, name) {
  const { context, page } = await open(browser, name, { viewport: { width: 1200, height: 900 } });
  const figure = page.locator('figure:has(tr[data-x])').first();
  if (await figure.count()) {
    const svg = figure.locator('.plot svg:visible').first();
    await svg.hover();
    check(await figure.locator('.tip').count() === 1, `${name}: no tooltip under the pointer`);
    await svg.focus();
    await page.keyboard.press('End');
    const last = await figure.locator('tr[data-x] th').last().textContent();
    const text = (await figure.locator('.tip').textContent()) ?? '';
    check(text.includes(last ?? ''), `${name}: End shows "${text}", not ${last}`);
    await page.keyboard.press('Escape');
    check(await figure.locator('.tip').count() === 0, `${name}: Escape leaves the tooltip`);
  }
  await context.close();
}

// On paper nothing that must stay whole is taller than a sheet, and breaking it is forbidden.
async function print(browser, name) {
  const { context, page } = await open(browser, name, { viewport: SHEET });
  await page.emulateMedia({ media: 'print', colorScheme: 'dark' });
  const found = await page.evaluate((height) => {
    const whole = [...document.querySelectorAll('figure, .banner, .reading, .hollow, .figures')];
    const bad = whole.filter((element) => {
      const isWhole = getComputedStyle(element).breakInside === 'avoid';
      return !isWhole || element.getBoundingClientRect().height > height;
    });
    return {
      bad: bad.map((element) => element.className || element.tagName),
      back: getComputedStyle(document.body).backgroundColor,
      wide: document.documentElement.scrollWidth - window.innerWidth,
      narrow: document.querySelectorAll('.plot:not(.small-only) svg.n').length > 0 &&
        getComputedStyle(document.querySelector('.plot:not(.small-only) svg.n')).display !== 'none',
    };
  }, SHEET.height);
  check(found.bad.length === 0, `${name}: on paper ${found.bad} would be cut`);
  check(found.back === 'rgb(255, 255, 255)', `${name}: paper of ${found.back}`);
  check(!found.narrow, `${name}: the phone's drawing on paper`);
  const pdf = await page.pdf({ format: 'A4', printBackground: true, preferCSSPageSize: true });
  check(pdf.subarray(0, 5).toString() === '%PDF-', `${name}: no PDF`);
  if (pictures) fs.writeFileSync(path.join(pictures, name.replace('.html', '.pdf')), pdf);
  await context.close();
}

async function main() {
  const executablePath = process.env.CHROMIUM ?? '/usr/bin/chromium';
  const browser = await chromium.launch({ executablePath, args: ['--no-sandbox'] });
  let charts = 0;
  for (const name of names) {
    const bytes = fs.statSync(path.join(pages, name)).size;
    check(bytes <= BYTES_MAX, `${name}: ${bytes} bytes`);
    let here = 0;
    const { context, page } = await open(browser, name, {});
    for (const width of WIDTHS) {
      for (const colorScheme of ['light', 'dark']) {
        here = await look(page, name, width, colorScheme);
      }
    }
    await context.close();
    await lookWithoutScript(browser, name, here);
    await lookAtTooltip(browser, name);
    await print(browser, name);
    charts += here;
  }
  await browser.close();
  check(names.length > 0 && charts > 0, 'there was nothing to look at');
  for (const offence of offences) console.error(`report-pages: ${offence}`);
  console.log(`report-pages: ${names.length} pages, ${charts} charts, ${offences.length} offences`);
  process.exitCode = offences.length > 0 ? 1 : 0;
}

main().catch((error) => {
  console.error(`report-pages: ${error.message}`);
  process.exitCode = 1;
});
