import Recurrences
import TileIR

/// Prints a walk that goes through the words of `templates/cuda/anchored.cuh`: what the recurrence
/// says of q, k and the decay, the kernel, and how the processor describes its tensors.
struct WarpgroupEmitter {
  let program: TileProgram
  let kernel: String
  let query: Map
  let key: Map
  let decay: Map?
  let value: String

  static let threads = 512
  static let vocabularies = ["words.cuh", "hopper.cuh"]

  /// Nil for a program that is none of these walks.
  init?(_ program: TileProgram, kernel: String) {
    var maps: [String: Map] = [:]
    var recur: Recur?
    func visit(_ body: [Statement]) {
      for statement in body {
        switch statement {
        case .operation(.map(let map)): maps[map.target.tile] = map
        case .operation(.recur(let found)): recur = found
        case .loop(_, let inner): visit(inner)
        default: break
        }
      }
    }
    guard program.phases.count == 1 else { return nil }
    visit(program.phases[0].body)
    guard let recur, let query = maps[recur.query.tile], let key = maps[recur.key.tile],
      let values = maps[recur.value.tile], let value = WarpgroupEmitter.tensor(of: values)
    else { return nil }
    self.program = program
    self.kernel = kernel
    self.query = query
    self.key = key
    self.value = value
    decay = recur.decay.flatMap { maps[$0.tile] }
  }

  /// The tensor along an axis that a map reads.
  static func tensor(of map: Map) -> String? {
    for operand in map.operands.values {
      if case .tokens(let slice) = operand, slice.columns > 1 { return slice.tensor }
    }
    return nil
  }

  /// Whether each key has a decay of its own, which is copied with the other operands.
  private var gate: String? { decay.flatMap(WarpgroupEmitter.tensor) }
  private var gateBytes: Int { gate == nil ? 1024 : 64 * 128 * 4 }

  /// What `anchored.cuh` takes of a block's shared memory: two stages of q, k, v and gates; U and o;
  /// sums, factors and barriers.
  var sharedBytes: Int {
    2 * (3 * 16384 + gateBytes) + 3 * 16384 + 4096 + 4096 + 8192 + 1024 + 16 + 64
  }

  var settings: String {
    """
    #define SL_THREADS \(Self.threads)
    #define SL_GATES_BYTES \(gateBytes)
    #define SL_GATES_COPIED \(gate == nil ? 0 : 1)

    """
  }

  // MARK: Maps

  /// A map's expression of `x`, the number of its tensor, of the head's parameters and of a token's
  /// scalars.
  private func text(_ expression: Expression, _ map: Map) -> String {
    CExpression(isVector: true) { name in
      switch map.operands[name] {
      case .tokens(let slice): slice.columns > 1 ? "x" : "\(slice.tensor)_of(token)"
      case .parameter(let name, _): name
      default: "scale"
      }
    }.text(expression)
  }

  /// The decay's natural logarithm; the decay is 1 without a gate.
  private var logDecay: Expression {
    guard let decay else { return .constant(0) }
    if case .unary(.exp, let logarithm) = decay.expression { return logarithm }
    return .unary(.log, decay.expression)
  }

  /// Names of head's parameters, and tensors of one number a token, that the maps read.
  private var scalars: (parameters: [String], tokens: [Tensor]) {
    let operands = [query, key, decay].compactMap { $0 }.flatMap(\.operands.values)
    var parameters: Set<String> = []
    var tokens: Set<String> = []
    for operand in operands {
      if case .parameter(let name, _) = operand { parameters.insert(name) }
      if case .tokens(let slice) = operand, slice.columns == 1 { tokens.insert(slice.tensor) }
    }
    return (parameters.sorted(), tokens.sorted().compactMap(program.tensor))
  }

  /// The struct `maps_of`.
  var maps: String {
    var out = CWriter()
    out.line("// What the recurrence says of q, k and the decay.")
    out.block("struct maps_of") { out in
      out.line("float scale;")
      for name in scalars.parameters { out.line("float \(name);") }
      for tensor in scalars.tokens {
        out.line("const \(PhaseEmitter.element(tensor.type)) *\(tensor.name);")
        out.line("int64_t \(tensor.name)_step;")
      }
      for tensor in scalars.tokens {
        let word = tensor.type == .f32 ? "sl_load" : "sl_load_\(tensor.type.rawValue)"
        out.block("SL_MEMBER float \(tensor.name)_of(int64_t token) const") {
          $0.line("return \(word)(\(tensor.name) + token * \(tensor.name)_step);")
        }
      }
      out.block("SL_MEMBER float query(float x) const") {
        $0.longLine("return \(text(query.expression, query));")
      }
      out.block("SL_MEMBER float key(float x) const") {
        $0.longLine("return \(text(key.expression, key));")
      }
      if gate == nil { scalarGate(&out) } else { keyGate(&out) }
    }
    return out.lines.dropLast().joined(separator: "\n") + "\n};\n"
  }

  /// One decay a token: 16 lanes compute a quarter's logarithms, for either half of the keys apart, as
  /// different warps read them.
  private func scalarGate(_ out: inout CWriter) {
    out.block("SL_MEMBER float log_decay(int64_t token) const") {
      if decay == nil || scalars.tokens.isEmpty { $0.line("(void)token;") }
      $0.longLine("return \(decay.map { text(logDecay, $0) } ?? "0.0f");")
    }
    out.block("SL_MEMBER uint32_t place_of(uint32_t gates, int row, int key) const") {
      $0.line("return gates + 4 * (uint32_t)(row + (key & 64));")
    }
    out.block(
      "SL_MEMBER void settle(uint32_t gates, int64_t token, int first, int key, int rows) const"
    ) { out in
      out.line("const int row = first + SL_LANE;")
      out.line("if (SL_LANE < 16)")
      out.line(
        "  sl_store_word(place_of(gates, row, key), "
          + "row < rows ? SL_BITS(log_decay(token + row)) : 0u);")
      out.line("sl_meet_warp();")
    }
    out.block(
      "SL_MEMBER void decays(float (&d)[2], uint32_t gates, int row, int key) const"
    ) { out in
      out.line("d[0] = d[1] = sl_load_float(place_of(gates, row, key));")
    }
    out.block("SL_MEMBER float decay(uint32_t gates, int row, int key) const") {
      $0.line("return sl_load_float(place_of(gates, row, key));")
    }
  }

  /// A decay for each key: a thread has two keys of a quarter's tokens.
  private func keyGate(_ out: inout CWriter) {
    let isPlain = if case .input = logDecay { true } else { false }
    out.block("SL_MEMBER float log_decay(float x) const") {
      $0.longLine("return \(text(logDecay, decay!));")
    }
    out.block(
      "SL_MEMBER void settle(uint32_t gates, int64_t token, int first, int key, int rows) const"
    ) { out in
      out.line("(void)token;")
      if isPlain { out.line("if (rows == 64) return;  // They are logarithms as they come.") }
      out.block("for (int row = first; row < first + 16; ++row)") { out in
        out.line("const uint32_t at = gates + 512 * row + 4 * key;")
        out.line("const float low = log_decay(sl_load_float(at));")
        out.line("const float high = log_decay(sl_load_float(at + 4));")
        out.line("sl_store_word(at, row < rows ? SL_BITS(low) : 0u);")
        out.line("sl_store_word(at + 4, row < rows ? SL_BITS(high) : 0u);")
      }
    }
    out.block(
      "SL_MEMBER void decays(float (&d)[2], uint32_t gates, int row, int key) const"
    ) { $0.line("sl_load_floats(d, gates + 512 * row + 4 * key);") }
    out.block("SL_MEMBER float decay(uint32_t gates, int row, int key) const") {
      $0.line("return sl_load_float(gates + 512 * row + 4 * key);")
    }
  }

  // MARK: The kernel

  private var tensors: [String] {
    [WarpgroupEmitter.tensor(of: query)!, WarpgroupEmitter.tensor(of: key)!, value]
      + (gate.map { [$0] } ?? []) + [TensorName.output]
  }

  var function: String {
    var out = CWriter()
    let phase = program.phases[0]
    let state = program.key * program.value
    out.line("// \(phase.name): one block's share.")
    out.line("//")
    for line in phase.pseudoCode { out.line("//   " + line) }
    let parameters = tensors.map { "SL_CONSTANT_ARGUMENT sl_tensor \($0)_tensor" }
    out.block(
      "SL_KERNEL SL_BOUNDS void \(kernel)_\(phase.name)("
        + (parameters + ["SL_CONSTANT_ARGUMENT arguments given)"]).joined(separator: ",\n    ")
    ) { out in
      out.lines([
        "const arguments *const args = &given;", "SL_SHARED scratch[];",
        "const uint32_t shared = sl_address(scratch);", "const int64_t item = SL_BLOCK;",
        "const int64_t group = args->query_heads / args->heads;",
        "const int value_begin = 128 * (int)(item % \(program.valueTiles));",
        "const int64_t query_head = item / \(program.valueTiles) % args->query_heads;",
        "const int64_t head = query_head / group;",
        "const int64_t sequence = item / \(program.valueTiles) / args->query_heads;",
        "const int64_t batch_row = args->cu_seqlens ? 0 : sequence;",
        "const int64_t begin = args->cu_seqlens ? args->cu_seqlens[sequence] : 0;",
        "const int64_t end = args->cu_seqlens ? args->cu_seqlens[sequence + 1] : args->length;",
        "const sl_place place = {",
        "    (int)head, (int)query_head, value_begin, (int)batch_row, (int)((end - begin + 63) / 64),",
        "    begin, end - begin};",
      ])
      out.block("const sl_sources sources =") { out in
        for name in tensors.prefix(3) { out.line("&\(name)_tensor,") }
        out.line(gate.map { "&\($0)_tensor," } ?? "NULL,")
      }
      out.line(";")
      out.line("maps_of maps;")
      out.line("maps.scale = args->scale;")
      for name in scalars.parameters { out.line("maps.\(name) = args->\(name)[head];") }
      for tensor in scalars.tokens {
        let name = tensor.name
        out.line("maps.\(name)_step = args->layout ? 1 : args->heads;")
        out.line(
          "maps.\(name) = args->\(name) + batch_row * args->length * args->heads "
            + "+ head * (args->layout ? args->length : 1);")
      }
      out.line("sl_anchored_begin(shared, place, sources);")
      out.block("if (SL_WARP < 8)") {
        $0.lines(["sl_give_registers(80);", "sl_anchored_prepare(shared, place, maps);"])
      }
      out.block("} else") { out in
        out.lines([
          "sl_take_registers(176);",
          "const int64_t state = (sequence * args->heads + head) * \(state) + value_begin;",
          "const int64_t o_token = args->layout ? \(program.value) : args->query_heads * \(program.value);",
          "const int64_t o_head = args->layout ? args->length * \(program.value) : \(program.value);",
          "uint16_t *const o = args->o + batch_row * args->length * args->query_heads * \(program.value)",
          "    + begin * o_token + query_head * o_head + value_begin;",
          "// Every query head of a group walks the state; the first one keeps it.",
          "sl_anchored_multiply(",
          "    shared, place, maps, sources, &\(TensorName.output)_tensor, o, o_token,",
          "    args->initial_state ? args->initial_state + state : NULL,",
          "    args->final_state && query_head % group == 0 ? args->final_state + state : NULL,",
          "    \(program.value), SL_WARP / 4 - 2);",
        ])
      }
    }
    return out.text.replacing("  }\n  ;\n", with: "  };\n")
  }

  // MARK: The processor's side

  /// Describes the tensors and launches, inside `forward_on`.
  var launch: [String] {
    var lines: [String] = []
    for name in tensors {
      let tensor = program.tensor(name)!
      let heads = tensor.kind == .queryTokens ? "query_heads" : "heads"
      // 7 and 9 are f32 and bf16 in the driver's numbering.
      let (type, size, box) = tensor.type == .f32 ? (7, 4, 128) : (9, 2, 64)
      lines.append("tensor \(name)_tensor;")
      lines.append("if (!problem)")
      lines.append("  problem = describe_tensor(")
      lines.append(
        "      &\(name)_tensor, args->\(name), \(type), \(size), \(tensor.columns), "
          + "(uint64_t)args->\(heads), \(box),")
      lines.append("      args);")
    }
    let given = (tensors.map { "&\($0)_tensor" } + ["(void *)args"]).joined(separator: ", ")
    lines.append("void *given[] = {\(given)};")
    lines.append("if (!problem)")
    lines.append(
      "  problem = launch(0, sequences_of(args) * args->query_heads * \(program.valueTiles), given, stream);"
    )
    return lines
  }
}
