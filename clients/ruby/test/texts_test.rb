# frozen_string_literal: true
# SPDX-License-Identifier: Apache-2.0

require_relative "support"

# What needs no bus: names, JSON as text, options.
class TextsTest < Minitest::Test
  GOOD = ['{}', '[]', ' {"a" : [1, 2.5e-3, -0, true, false, null, "x\u00e9\\u00e9\\/\\ud83d\\ude00"]} ', '"text"', "0", "[[[[]]]]", "{\"a\":\n{}}"].freeze
  BAD = ['', ' ', '{', '[1,]', '{"a"}', '{"a":1,}', "'a'", '01', '1.', '+1', '.5', 'tru', 'NaN', '"\\ud800"', '"\\x"', "\"a\nb\"", "\"\t\"", '1 2', '1,"op":"x"',
         '{}}', '[/**/]', '"a"b"', '{"a":1}//', "\xff", "\"\xff\"", '{1:2}', '"'].freeze

  def test_json_is_checked
    GOOD.each { |text| assert Busbar::JSONText.valid?(text), text }
    BAD.each { |text| refute Busbar::JSONText.valid?(text), text }
  end

  def test_json_cut_anywhere_is_no_json
    text = '{"a":[1,{"b":"\\u00e9\\"]"},null]}'
    (0...text.length).each { |n| refute Busbar::JSONText.valid?(text[0, n]), text[0, n] }
  end

  def test_a_value_is_found_wherever_it_stands
    GOOD.each do |value|
      ["{\"x\":[\"\\\"data\\\":\",{\"data\":1}],\"data\":#{value}}", "{ \"data\" : #{value} , \"x\":\"}]{\" }"].each do |line|
        before, raw, after = Busbar::JSONText.split(line, '"data"')
        assert_equal value.strip, raw.strip
        assert_equal line, before + raw + after
      end
    end
    assert_nil Busbar::JSONText.split('{"x":{"data":1}}', '"data"')
    ["", "{", '{"data"', '{"data":', '{"data":{', '{"data":[1,{}', "x", '{"a":1 "data":1}'].each { |line| assert_nil Busbar::JSONText.split(line, '"data"'), line }
  end

  def test_deep_and_long_texts_take_their_time_once
    deep = "[" * 100_000
    began = now
    refute Busbar::JSONText.valid?(deep)
    assert Busbar::JSONText.valid?(deep + "]" * 100_000)
    refute Busbar::JSONText.valid?("{" + '"a":1,' * 100_000)
    refute Busbar::JSONText.valid?("\"" + "\\n" * 100_000)
    assert_operator now - began, :<, 10
  end

  def test_names
    ["a", "a/b", "chat:Z2lkOi8v:messages", "é", "a b", "/", "a$b", "x" * 1024].each { |name| assert_equal name, Busbar::Names.topic(name) }
    {"" => "empty", "room #1" => "room-1", "a/+/b" => "wildcard", "$sys/x" => "the bus's own", "x" * 1025 => "digest", "a\nb" => "control",
     "a\u0085" => "control", "\xff" => "UTF-8", "/" * 128 => "levels"}.each do |name, why|
      error = assert_raises(Busbar::InvalidTopic) { Busbar::Names.topic(name) }
      assert_includes error.message, why
    end
    assert_equal "é", Busbar::Names.topic("é".encode("ISO-8859-1"))
    assert_equal "é", Busbar::Names.topic("é".b)
    assert_equal "a/#", Busbar::Names.filter("a/#")
  end

  def test_wrong_calls_are_told_at_once
    ["http://127.0.0.1", "busbar://", "busbar://h/x", "busbar://h?x", "nonsense", "busbar://a b"].each do |url|
      assert_raises(ArgumentError) { Busbar::Client.new(url) }
    end
    assert_includes assert_raises(ArgumentError) { Busbar::Client.new(tmeout: 1) }.message, "tmeout"
    assert_raises(ArgumentError) { Busbar::Client.new(timeout: 0) }
    bus = Busbar::Client.new("busbar://[::1]")
    assert_raises(ArgumentError) { bus.publish("a") }
    assert_raises(ArgumentError) { bus.publish("a", 1, json: "1") }
    assert_raises(ArgumentError) { bus.publish("a", json: '1,"topic":"b"') }
    assert_raises(ArgumentError) { bus.publish("a", "\xff") }
    assert_raises(ArgumentError) { bus.publish("a", "text", type: "application/json") }
    assert_raises(ArgumentError) { bus.publish("a", json: '"x"', type: "text/plain") }
    assert_raises(ArgumentError) { bus.publish("a", 1, timeout: 1000) }
    assert_raises(ArgumentError) { bus.subscribe("a", since: "x", last: 1) }
    assert_raises(Busbar::InvalidTopic) { bus.publish("room #1", 1) }
    bus.close
    assert_raises(Busbar::Closed) { bus.publish("a", 1) }
    bus.close
  end
end
