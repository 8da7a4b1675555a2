#include "data/weights/pickle.h"

#include <algorithm>
#include <bit>
#include <cstring>
#include <unordered_map>

#include "base/error.h"

namespace vitral::data {

using Kind = PickleValue::Kind;

const PickleValue* PickleValue::find(std::string_view key) const {
  if (kind != Kind::dict) return nullptr;
  for (std::size_t i = items.size(); i >= 2; i -= 2)
    if (items[i - 2]->is(Kind::text) && items[i - 2]->text == key) return items[i - 1];
  return nullptr;
}

class PickleMachine {
 public:
  PickleMachine(Pickle& pickle, std::string_view bytes, const std::string& where)
      : pickle_(pickle), bytes_(bytes), where_(where) {}

  PickleValue* run() {
    for (;;) {
      const auto opcode = static_cast<unsigned char>(take(1)[0]);
      if (opcode == '.') return pop();
      if (!constants(opcode) && !containers(opcode) && !objects(opcode) && !bookkeeping(opcode))
        throw_error(
            "{}: pickle opcode 0x{:02x} at byte {} is not supported; save the file again with torch.save",
            where_, opcode, at_ - 1);
    }
  }

 private:
  [[noreturn]] void damaged(const char* what) const {
    throw_error("{}: {} at byte {} of the pickle; the file is damaged", where_, what, at_);
  }

  std::string_view take(std::uint64_t n) {
    if (n > bytes_.size() - at_) damaged("unexpected end");
    const auto part = bytes_.substr(at_, n);
    at_ += n;
    return part;
  }
  template <class T>
  T number() {  // little-endian
    T value;
    std::memcpy(&value, take(sizeof value).data(), sizeof value);
    return value;
  }
  std::string_view line() {
    const std::size_t end = bytes_.find('\n', at_);
    if (end == std::string_view::npos) damaged("unexpected end");
    const auto text = bytes_.substr(at_, end - at_);
    at_ = end + 1;
    return text;
  }

  PickleValue* make(Kind kind) {
    // A value takes some hundred bytes of memory, and in the pickles of PyTorch about seven. Lists of pairs
    // of small numbers have most.
    const std::size_t most = std::min<std::size_t>(2'000'000, 10'000 + bytes_.size() / 4 * 3);
    if (pickle_.values_.size() >= most)
      throw_error("{}: more than {} values in a pickle of {} bytes; it is damaged", where_, most,
                  bytes_.size());
    auto& value = pickle_.values_.emplace_back();
    value.kind = kind;
    return &value;
  }
  PickleValue* push(PickleValue* value) {
    stack_.push_back(value);
    return value;
  }
  void push_integer(Kind kind, std::int64_t integer) { push(make(kind))->integer = integer; }
  // Values that never change and take one byte in the file are made once.
  void push_shared(PickleValue*& value, Kind kind, std::int64_t integer) {
    if (!value) {
      value = make(kind);
      value->integer = integer;
    }
    push(value);
  }
  void push_text(std::string_view text) { push(make(Kind::text))->text = text; }
  // The stack may not be read below the last mark: what lies there belongs to an outer container.
  PickleValue* pop() {
    if (stack_.size() <= (marks_.empty() ? 0 : marks_.back())) damaged("nothing on the stack");
    auto* value = stack_.back();
    stack_.pop_back();
    return value;
  }
  PickleValue* top() {
    auto* value = pop();
    return push(value);
  }
  std::vector<PickleValue*> pop_to_mark() {
    if (marks_.empty()) damaged("no mark on the stack");
    const auto begin = stack_.begin() + static_cast<std::ptrdiff_t>(marks_.back());
    std::vector<PickleValue*> items(begin, stack_.end());
    stack_.erase(begin, stack_.end());
    marks_.pop_back();
    return items;
  }
  void push_tuple(std::size_t n) {
    std::vector<PickleValue*> items(n);
    for (std::size_t i = n; i > 0; --i) items[i - 1] = pop();
    push(make(Kind::tuple))->items = std::move(items);
  }

  bool constants(unsigned char opcode) {
    switch (opcode) {
      case 'N':
        push_shared(none_, Kind::none, 0);
        return true;
      case 0x88:
        push_shared(true_, Kind::boolean, 1);
        return true;
      case 0x89:
        push_shared(false_, Kind::boolean, 0);
        return true;
      case 'J':
        push_integer(Kind::integer, number<std::int32_t>());
        return true;
      case 'K':
        push_integer(Kind::integer, number<std::uint8_t>());
        return true;
      case 'M':
        push_integer(Kind::integer, number<std::uint16_t>());
        return true;
      case 0x8a:
        push_long(take(number<std::uint8_t>()));
        return true;
      case 0x8b:
        push_long(take(number<std::uint32_t>()));
        return true;
      case 'G': {
        auto bits = number<std::uint64_t>();
        push(make(Kind::real))->real = std::bit_cast<double>(__builtin_bswap64(bits));
        return true;
      }
      case 'X':
      case 'T':
      case 'B':
        push_text(take(number<std::uint32_t>()));
        return true;
      case 0x8c:
      case 'U':
      case 'C':
        push_text(take(number<std::uint8_t>()));
        return true;
      case 0x8d:
      case 0x8e:
        push_text(take(number<std::uint64_t>()));
        return true;
      default:
        return false;
    }
  }

  void push_long(std::string_view bytes) {
    if (bytes.size() > 8) {
      push(make(Kind::object))->text = "int";
      return;
    }
    std::uint64_t value = !bytes.empty() && (bytes.back() & 0x80) ? ~std::uint64_t{0} : 0;
    for (std::size_t i = bytes.size(); i > 0; --i)
      value = value << 8 | static_cast<unsigned char>(bytes[i - 1]);
    push_integer(Kind::integer, static_cast<std::int64_t>(value));
  }

  bool containers(unsigned char opcode) {
    switch (opcode) {
      case ']':
      case 0x8f:
        push(make(Kind::list));
        return true;
      case ')':
        push(make(Kind::tuple));
        return true;
      case '}':
        push(make(Kind::dict));
        return true;
      case 0x85:
        push_tuple(1);
        return true;
      case 0x86:
        push_tuple(2);
        return true;
      case 0x87:
        push_tuple(3);
        return true;
      case 't':
        collect(Kind::tuple);
        return true;
      case 'l':
      case 0x91:
        collect(Kind::list);
        return true;
      case 'd':
        collect(Kind::dict);
        return true;
      case 'a':
        add(Kind::list, {pop()});
        return true;
      case 'e':
      case 0x90:
        add(Kind::list, pop_to_mark());
        return true;
      case 's': {
        auto* value = pop();
        auto* key = pop();
        add(Kind::dict, {key, value});
        return true;
      }
      case 'u':
        add(Kind::dict, pop_to_mark());
        return true;
      default:
        return false;
    }
  }

  void collect(Kind kind) {
    auto items = pop_to_mark();
    if (kind == Kind::dict && items.size() % 2) damaged("a key without a value");
    push(make(kind))->items = std::move(items);
  }

  // Adds to the list or dict on top; to a placeholder it does nothing.
  void add(Kind kind, const std::vector<PickleValue*>& items) {
    auto* target = top();
    if (kind == Kind::dict && items.size() % 2) damaged("a key without a value");
    if (target->is(kind))
      target->items.insert(target->items.end(), items.begin(), items.end());
    else if (!target->is(Kind::object))
      damaged("an item for something that holds none");
  }

  bool objects(unsigned char opcode) {
    switch (opcode) {
      case 'c': {
        const auto module = line();
        push_global(module, line());
        return true;
      }
      case 0x93: {
        const auto* name = pop();
        const auto* module = pop();
        if (!name->is(Kind::text) || !module->is(Kind::text)) damaged("a global without a name");
        push_global(module->text, name->text);
        return true;
      }
      case 'R':
      case 0x81: {
        auto* arguments = pop();
        call(pop(), arguments);
        return true;
      }
      case 0x92: {
        pop();  // keyword arguments of a placeholder
        auto* arguments = pop();
        call(pop(), arguments);
        return true;
      }
      case 'b': {
        auto* state = pop();
        auto* target = top();  // a dict may have attributes, too: OrderedDict._metadata. They are left out.
        if (target->is(Kind::object)) target->state = state;
        return true;
      }
      case 'Q': {
        auto* identifier = pop();
        push(make(Kind::persistent))->items = {identifier};
        return true;
      }
      default:
        return false;
    }
  }

  void push_global(std::string_view module, std::string_view name) {
    push(make(Kind::global))->text = fmt::format("{}.{}", module, name);
  }

  void call(const PickleValue* callable, PickleValue* arguments) {
    if (!arguments->is(Kind::tuple)) damaged("a call without a tuple of arguments");
    if (callable->is(Kind::global) && callable->text == "collections.OrderedDict") {
      push(make(Kind::dict));
      return;
    }
    auto* object = push(make(Kind::object));
    object->text = callable->text;  // empty where the callable is itself the result of a call
    object->items = arguments->items;
    copied_ += object->items.size();
    if (copied_ > bytes_.size()) damaged("too many arguments");
  }

  bool bookkeeping(unsigned char opcode) {
    switch (opcode) {
      case 0x80:
        if (const auto protocol = number<std::uint8_t>(); protocol < 2 || protocol > 5)
          throw_error("{}: pickle protocol {} is not supported; save the file again with torch.save", where_,
                      protocol);
        return true;
      case 0x95:
        number<std::uint64_t>();
        return true;  // frame
      case '(':
        marks_.push_back(stack_.size());
        return true;
      case '0':
        pop();
        return true;
      case '1':
        pop_to_mark();
        return true;
      case '2':
        push(top());
        return true;
      case 'q':
        memoize(number<std::uint8_t>());
        return true;
      case 'r':
        memoize(number<std::uint32_t>());
        return true;
      case 0x94:
        memoize(static_cast<std::uint32_t>(memo_.size()));
        return true;
      case 'h':
        recall(number<std::uint8_t>());
        return true;
      case 'j':
        recall(number<std::uint32_t>());
        return true;
      default:
        return false;
    }
  }

  // A pickler remembers a value once; one byte in the file must not take fifty of memory for ever.
  void memoize(std::uint32_t index) {
    memo_[index] = top();
    if (memo_.size() > pickle_.values_.size()) damaged("more references than values");
  }
  void recall(std::uint32_t index) {
    const auto found = memo_.find(index);
    if (found == memo_.end()) damaged("a reference to nothing");
    push(found->second);
  }

  Pickle& pickle_;
  std::string_view bytes_;
  const std::string& where_;
  std::size_t at_ = 0;
  std::size_t copied_ = 0;
  PickleValue *none_ = nullptr, *true_ = nullptr, *false_ = nullptr;
  std::vector<PickleValue*> stack_;
  std::vector<std::size_t> marks_;
  std::unordered_map<std::uint32_t, PickleValue*> memo_;
};

Pickle::Pickle(std::string_view bytes, const std::string& where) {
  root_ = PickleMachine(*this, bytes, where).run();
}

}  // namespace vitral::data
