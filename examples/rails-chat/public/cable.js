// SPDX-License-Identifier: Apache-2.0
// One consumer for the page. The layout's meta tag says where it connects.
export const consumer = window.ActionCable.createConsumer()

export function showState(text) {
    document.getElementById('state').textContent = text
}
