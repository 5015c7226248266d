# What Rack reads of a request.
require 'json'
require 'rack'
require 'rack/handler/webrick'
require 'socket'

def clean(value)
  case value
  when String then value.dup.force_encoding('UTF-8').scrub
  when Hash then value.to_h { |name, inner| [clean(name.to_s), clean(inner)] }
  when Array then value.map { |inner| clean(inner) }
  when nil, true, false, Numeric then value
  else clean(value.to_s)
  end
end

# What raises would be a 400.
def read
  yield
rescue StandardError
  nil
end

app = lambda do |env|
  request = Rack::Request.new(env)
  return [404, {}, []] if request.path.start_with?('/.well-known/')

  body = request.body.read
  request.body.rewind
  # As Rails' `ActionDispatch::Http::Parameters`, and Rack::JSONBodyParser.
  json = request.media_type.to_s.match?(%r{[/+]json\z}i) ? read { JSON.parse(body) } : nil
  basic = Rack::Auth::Basic::Request.new(env)
  headers = env.select { |name, _| name.start_with?('HTTP_') }
  headers = headers.to_h { |name, value| [name.delete_prefix('HTTP_').downcase.tr('_', '-'), value] }
  answer = {
    method: request.request_method,
    path: request.path,
    type: request.content_type,
    length: body.bytesize,
    query: read { request.GET },
    form: read { request.POST },
    merged: read { request.params },
    json: json,
    basic: read { basic.username if basic.provided? && basic.basic? },
    headers: headers
  }
  [200, { 'content-type' => 'application/json' }, [JSON.generate(clean(answer))]]
end

quiet = { Logger: WEBrick::Log.new(File::NULL), AccessLog: [] }
Rack::Handler::WEBrick.run(Rack::MethodOverride.new(app), Host: '127.0.0.1', Port: 0, **quiet) do |server|
  $stdout.puts "listening on http://127.0.0.1:#{server.listeners.first.addr[1]}"
  $stdout.flush
end
