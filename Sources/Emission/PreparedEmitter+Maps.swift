import Recurrences
import Schedules
import TileIR

/// What the recurrence says of one token and key, for the words of `templates/cuda/prepared.cuh`.
extension PreparedEmitter {
  private var valueLogDecay: Expression? { form.valueGate.map(\.logarithm) }

  private var gateInputs: [Recurrence.Input] { inputs([logDecay]) }
  private var keyInputs: [Recurrence.Input] { inputs([form.query, form.key, form.present]) }
  var allInputs: [Recurrence.Input] {
    inputs([form.query, form.key, form.present, logDecay, skip])
  }

  var everyInput: [Recurrence.Input] {
    let names = Set((allInputs + valueInputs).map(\.name))
    return specification.recurrence.inputs.filter { names.contains($0.name) }
  }
  /// What the maps of a value read, v among it.
  var valueInputs: [Recurrence.Input] {
    hasValueGate ? inputs([form.value, valueLogDecay]) : []
  }

  func isAlongKeys(_ input: Recurrence.Input) -> Bool { input.axes == .key }
  func isAlongValues(_ input: Recurrence.Input) -> Bool { input.axes == .value }

  /// A map of a token's numbers, of one key where `key` and `e` say which.
  private func text(_ expression: Expression) -> String {
    CExpression(isVector: true) { name in
      guard let input = specification.recurrence.input(name) else { return "scale" }
      if isAlongValues(input) { return oneOfTwo(input) }
      guard isAlongKeys(input) else { return isToken(input) ? "token.\(name)" : "own_\(name)" }
      guard isToken(input) else { return "at_\(name)[key + e]" }
      switch type(input) {
      case .bf16: return "sl_bf16_of(of.\(name), e)"
      case .f16: return "sl_f16_of(of.\(name), e)"
      default: return "of.\(name)[e]"
      }
    }.text(expression)
  }

  /// One of two values' numbers.
  private func oneOfTwo(_ input: Recurrence.Input) -> String {
    guard isToken(input) else { return "at_\(input.name)[value + e]" }
    switch type(input) {
    case .bf16: return "(e % 2 ? sl_high(of.\(input.name)) : sl_low(of.\(input.name)))"
    case .f16: return "sl_f16_to_f32((uint16_t)(of.\(input.name) >> 16 * (e % 2)))"
    default: return "of.\(input.name)[e]"
    }
  }

  /// Where v lies, and the maps of a value.
  private func valueMaps(_ out: inout CWriter) {
    guard let decay = valueLogDecay, case .input(let value, _) = form.value else { return }
    let read = inputs([decay]).filter { isAlongValues($0) && isToken($0) }
    out.line("// A token's row of v, the gates of two values of it, and one's log decay.")
    out.line(
      "SL_MEMBER const uint16_t *value_row(int row) const { return at_\(value) + row * step_\(value); }"
    )
    several("value_gates", read, at: "value", ("float", "[2]"), ("uint32_t", ""), &out) {
      "sl_read_values(of.\($0), at_\($0) + row * step_\($0) + value);"
    }
    out.block(
      "SL_MEMBER float value_log_decay(\n      const value_gates &of, const token_numbers &token, "
        + "int value, const int e) const"
    ) {
      $0.line("(void)of, (void)token, (void)value, (void)e;")
      $0.longLine("return \(text(decay));")
    }
  }

  /// A struct of four keys' numbers, and the member that reads them of a token.
  private func fourKeys(_ name: String, _ inputs: [Recurrence.Input], _ out: inout CWriter) {
    let read = inputs.filter { isAlongKeys($0) && isToken($0) }
    several(name, read, at: "key", ("float", "[4]"), ("uint32_t", "[2]"), &out) {
      "sl_read_keys(of.\($0), at_\($0) + row * step_\($0), key);"
    }
  }

  /// A struct of several keys' or values' numbers, of f32 or in words of sixteen bits each, and the member
  /// that reads them of a token.
  private func several(
    _ name: String, _ read: [Recurrence.Input], at place: String, _ sums: (String, String),
    _ words: (String, String), _ out: inout CWriter, reader: (String) -> String
  ) {
    let members = read.map {
      let (type, count) = type($0).isSums ? sums : words
      return "\(type) \($0.name)\(count); "
    }
    out.line("struct \(name) {\(members.isEmpty ? "" : " ")\(members.joined())};")
    out.block("SL_MEMBER \(name) \(name)_at(int row, int \(place)) const") { out in
      out.line("\(name) of;")
      if read.isEmpty { out.line("(void)row, (void)\(place);") }
      for input in read { out.line(reader(input.name)) }
      out.line("return of;")
    }
  }

  /// The struct `maps_of`.
  var maps: String {
    var out = CWriter()
    out.line(
      "// What the recurrence says of q, k and the decay, for the tokens of a chunk and a head.")
    out.block("struct maps_of") { out in
      out.line("float scale;")
      for input in everyInput {
        let element = PhaseEmitter.element(type(input))
        if isToken(input) {
          out.line("const \(element) *at_\(input.name);")
          out.line("int64_t step_\(input.name);")
        } else if isAlongKeys(input) || isAlongValues(input) {
          out.line("const float *at_\(input.name);")
        } else {
          out.line("float own_\(input.name);")
        }
      }
      let scalars = everyInput.filter {
        isToken($0) && !isAlongKeys($0) && !isAlongValues($0)
      }
      out.line("// Numbers of a token, and of four keys of it.")
      tokenNumbers(scalars, row: "row", &out)
      fourKeys("gates", gateInputs, &out)
      fourKeys("keys", keyInputs, &out)
      function("log_decay", of: "gates", logDecay ?? .constant(0), &out)
      function("query", of: "keys", form.query, &out)
      function("key", of: "keys", form.key, &out)
      out.line("// A key's share of the weight of the present token's own value.")
      out.block(
        "SL_MEMBER float present(\n      const keys &of, const token_numbers &token, int key, "
          + "const int e, float query,\n      float own) const"
      ) {
        $0.line("(void)of, (void)token, (void)key, (void)e, (void)query, (void)own;")
        $0.longLine("return \(form.present.map(text) ?? "query * own");")
      }
      out.line("// What that value is weighted with besides.")
      out.block("SL_MEMBER float beside(const token_numbers &token) const") {
        $0.line("(void)token;")
        $0.longLine("return \(skip.map(text) ?? "0.0f");")
      }
      valueMaps(&out)
    }
    return out.lines.dropLast().joined(separator: "\n") + "\n};\n"
  }

  private func function(
    _ name: String, of numbers: String, _ map: Expression, _ out: inout CWriter
  ) {
    out.block(
      "SL_MEMBER float \(name)(\n      const \(numbers) &of, const token_numbers &token, int key, "
        + "const int e) const"
    ) {
      $0.line("(void)of, (void)token, (void)key, (void)e;")
      $0.longLine("return \(text(map));")
    }
  }
}
