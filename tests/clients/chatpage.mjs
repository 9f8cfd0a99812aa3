// SPDX-License-Identifier: Apache-2.0
// Pages of examples/rails-chat in a real browser, each in a tab of its own: node chatpage.mjs CHROMIUM USER-DATA-DIR
import { chromium } from 'playwright-core'
import { obey, tell } from './orders.mjs'

const [executablePath, userData] = process.argv.slice(2)
const context = await chromium.launchPersistentContext(userData, {
    executablePath, headless: true, viewport: {width: 900, height: 620}, colorScheme: 'light', timeout: 60_000,
    args: ['--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run', '--disable-background-networking',
        '--disable-component-update', '--disable-sync'],
})
const tabs = new Map()
tell('launched')

await obey({
    async open({tab, address}) {
        const page = await context.newPage()
        page.on('pageerror', error => tell('pageerror', {tab, message: String(error)}))
        tabs.set(tab, page)
        await page.goto(address)
        tell('opened', {tab})
    },
    async state({tab, state}) {
        await tabs.get(tab).waitForFunction(wanted => document.querySelector('#state').textContent === wanted, state, {timeout: 25_000})
            .then(() => tell('state', {tab, state}), error => tell('unseen', {tab, state, error: error.message}))
    },
    // By the Action Cable client.
    async speak({tab, text}) {
        await tabs.get(tab).fill('#speak input', text)
        await tabs.get(tab).click('#speak button')
    },
    // By a form, which loads the page anew.
    async post({tab, fields}) {
        for (const [name, value] of Object.entries(fields))
            await tabs.get(tab).fill(`#post [name=${name}]`, value)
        await tabs.get(tab).click('#post button')
        tell('posted', {tab})
    },
    async see({tab, text}) {
        await tabs.get(tab).waitForFunction(wanted => [...document.querySelectorAll('#log li')].some(e => e.textContent.trim() === wanted), text,
            {timeout: 25_000}).then(() => tell('seen', {tab, text}), error => tell('unseen', {tab, text, error: error.message}))
    },
    async read({tab}) {
        tell('log', {tab, lines: await tabs.get(tab).evaluate(() => [...document.querySelectorAll('#log li')].map(e => e.textContent.trim()))})
    },
    async screenshot({tab, path}) {
        await tabs.get(tab).bringToFront()
        await tabs.get(tab).screenshot({path})
        tell('screenshot', {path})
    },
})
await context.close()
