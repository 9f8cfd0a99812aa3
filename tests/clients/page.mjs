// SPDX-License-Identifier: Apache-2.0
// The live page in a real browser: node page.mjs CHROMIUM USER-DATA-DIR http://HOST:PORT/
import { chromium } from 'playwright-core'
import { obey, tell } from './orders.mjs'

const [executablePath, userData, address] = process.argv.slice(2)
const context = await chromium.launchPersistentContext(userData, {
    executablePath, headless: true, ignoreHTTPSErrors: true, viewport: {width: 1180, height: 660}, colorScheme: 'light', timeout: 60_000,
    args: ['--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run', '--disable-background-networking',
        '--disable-component-update', '--disable-sync'],
})
const page = context.pages()[0] ?? await context.newPage()
page.on('pageerror', error => tell('pageerror', {message: String(error)}))
page.on('console', message => tell('console', {type: message.type(), text: message.text()}))
tell('launched')

await obey({
    async open() {
        await page.goto(address)
        tell('opened')
    },
    async reload() {
        await page.reload()
        tell('reloaded')
    },
    async join({topic}) {
        await page.fill('#topic', topic)
        await page.click('#join button')
        tell('joined')
    },
    async publish({text}) {
        await page.fill('#text', text)
        await page.click('#publish button')
    },
    // Waits until the text is the content of that many messages.
    async see({text, n}) {
        await page.waitForFunction(([wanted, count]) =>
            [...document.querySelectorAll('#messages .data')].filter(e => e.textContent === wanted).length === count, [text, n ?? 1],
            {timeout: 25_000}).then(() => tell('seen', {text}), error => tell('unseen', {text, error: error.message}))
    },
    async state({state}) {
        await page.waitForSelector(`#state[data-state=${state}]`, {timeout: 25_000})
            .then(() => tell('state', {state}), error => tell('unseen', {state, error: error.message}))
    },
    async connection({state}) {
        await page.waitForSelector(`#connection[data-state=${state}]`, {timeout: 25_000})
            .then(() => tell('connection', {state}), error => tell('unseen', {state, error: error.message}))
    },
    async read() {
        tell('page', await page.evaluate(() => ({
            messages: [...document.querySelectorAll('#messages .data')].map(e => e.textContent),
            notices: [...document.querySelectorAll('#messages .notice')].map(e => e.textContent),
            state: document.querySelector('#state').textContent, nc: document.querySelector('#line-nc').textContent,
            curl: document.querySelector('#line-curl-pub').textContent, topic: document.querySelector('#topic').value,
        })))
    },
    async screenshot({path}) {
        await page.screenshot({path})
        tell('screenshot', {path})
    },
})
await context.close()
