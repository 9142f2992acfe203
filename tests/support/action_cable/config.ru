# Chat on Action Cable without the rest of Rails:
#   puma -b tcp://127.0.0.1:3000 -t 8:8 tests/support/action_cable/config.ru
# Needs `apt-get install ruby-actioncable puma`. The user is the query parameter `user`. Variables: CABLE_WORKERS is the
# size of the pool that performs actions (4 unless given, as in Rails), CABLE_ADAPTER the adapter (async unless given).
# frozen_string_literal: true

require "logger"
require "action_cable"
require "rack"

class ChatConnection < ActionCable::Connection::Base
  identified_by :user

  def connect
    self.user = request.params["user"] || reject_unauthorized_connection
  end
end

class ChatChannel < ActionCable::Channel::Base
  def subscribed
    return reject if params["room"].to_s.empty?

    stream_from "chat:#{params['room']}"
  end

  def speak(data)
    ActionCable.server.broadcast("chat:#{params['room']}", { text: data["text"], id: data["id"], user: user })
  end
end

ActionCable.server.config.tap do |config|
  config.cable = { "adapter" => ENV.fetch("CABLE_ADAPTER", "async") }
  config.connection_class = -> { ChatConnection }
  config.logger = Logger.new($stderr, level: Logger::WARN)
  config.worker_pool_size = Integer(ENV.fetch("CABLE_WORKERS", "4"))
  config.allowed_request_origins = [%r{\Ahttp://127\.0\.0\.1(:\d+)?\z}]
  config.mount_path = "/cable"
end

run(lambda do |env|
  env["PATH_INFO"] == "/cable" ? ActionCable.server.call(env) : [200, { "Content-Type" => "text/plain" }, ["chat"]]
end)
