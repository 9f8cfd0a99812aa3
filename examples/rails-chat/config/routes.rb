# frozen_string_literal: true
# SPDX-License-Identifier: Apache-2.0

Rails.application.routes.draw do
  root to: redirect("/rooms/lobby")
  resources :rooms, only: :show do
    resources :messages, only: :create
  end
  resource :mail, only: %i[show create], controller: :mail
  # The client that came with Action Cable, as it is.
  get "action_cable.js", to: "scripts#action_cable"
end
