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

  /// Threads that sum up what segments add.
  static let combining = 512
  /// Threads of a walk: two warpgroups prepare and two multiply; where the state leaves registers for
  /// more, four warps ask for copies.
  private var threads: Int { program.valueTile == 128 ? 512 : 640 }
  /// Threads of each phase's blocks.
  var phaseThreads: [Int] {
    program.phases.map { $0.name == "combine" ? Self.combining : threads }
  }
  static let vocabularies = ["words.cuh", "hopper.cuh"]
  /// What follows the recurrence's maps, which it calls.
  var walkVocabularies: [String] {
    [
      "anchored.cuh", "anchored_exact.cuh", "anchored_quarter.cuh", "anchored_prepare.cuh",
      "anchored_multiply.cuh", "anchored_roles.cuh",
    ] + (segments == nil ? [] : ["segments.cuh"])
  }

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
    visit(program.phases.last?.body ?? [])
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

  /// What `anchored.cuh` takes of a block's shared memory: stages of q, k and v with factors and barriers,
  /// chunks' gates, U and outputs, the exact form's scores, sums, decays after quarters, cursors, and
  /// U's barriers.
  private var bytes: Int {
    let isNarrow = program.valueTile == 64
    return 3 * (2 * 16384 + 128 * program.valueTile + 2 * 512 + 3 * 8)
      + (isNarrow ? 2 : 1) * (32768 + 2 * 8) + (isNarrow ? 3 : 4) * 8192
      + 8192 + 4096 + 2048 + 1024 + 16 * 32 + 16 + 2 * 8
  }

  var settings: String {
    """
    #define SL_THREADS \(threads)
    #define SL_VALUES \(program.valueTile)
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

  private static let logarithms =
    "SL_MEMBER void logarithms(float (&decay)[16][2], int64_t token, int first, int rows) const"

  /// One decay a token: 16 lanes compute a quarter's logarithms.
  private func scalarGate(_ out: inout CWriter) {
    out.block("SL_MEMBER float log_decay(int64_t token) const") {
      if decay == nil || scalars.tokens.isEmpty { $0.line("(void)token;") }
      $0.longLine("return \(decay.map { text(logDecay, $0) } ?? "0.0f");")
    }
    out.line("// Base-2 logarithms of `rows` tokens of a quarter, 0 past them.")
    out.block(Self.logarithms) { out in
      out.line("const int lane = SL_LANE;")
      out.line("float own = 0.0f;")
      out.line("if (lane < 16 && lane < rows)")
      out.line("  own = 0x1.715476p0f * log_decay(token + first + lane);")
      out.line("#pragma unroll")
      out.line("for (int n = 0; n < 16; ++n) decay[n][0] = decay[n][1] = sl_of_lane(own, n);")
    }
  }

  /// A decay for each key: a thread has two keys of a quarter's tokens.
  private func keyGate(_ out: inout CWriter) {
    out.block("SL_MEMBER float log_decay(float x) const") {
      $0.longLine("return \(text(logDecay, decay!));")
    }
    out.line("// Base-2 logarithms of a quarter's gates, in their place; 0 past `rows` tokens.")
    out.block(Self.logarithms) { out in
      out.line("(void)token, (void)first;")
      out.line("#pragma unroll")
      out.line("for (int n = 0; n < 16; ++n)")
      out.line("#pragma unroll")
      out.line(
        "  for (int e = 0; e < 2; ++e) decay[n][e] = 0x1.715476p0f * log_decay(decay[n][e]);")
      out.line("if (rows >= 16) return;")
      out.line("#pragma unroll")
      out.line("for (int n = 0; n < 16; ++n)")
      out.line("  if (n >= rows) decay[n][0] = decay[n][1] = 0.0f;")
    }
  }

  // MARK: The kernel

  private var tensors: [String] {
    [WarpgroupEmitter.tensor(of: query)!, WarpgroupEmitter.tensor(of: key)!, value]
      + (gate.map { [$0] } ?? []) + [TensorName.output]
  }

  var group: String { "args->query_heads / args->heads" }
  var state: Int { program.key * program.value }

  /// Segments of a sequence; nil where one block walks all of it.
  var segments: Int? {
    if case .fixed(let count) = program.segmentation { count } else { nil }
  }

  /// The kernels and what they are told of their walks.
  var functions: String {
    program.phases.map { phase in
      switch phase.name {
      case "combine": combine(phase)
      case "summarize": walks(phase, reads: false)
      default: walks(phase, reads: true)
      }
    }.joined(separator: "\n")
  }

  func open(_ phase: TileProgram.Phase, _ parameters: [String], _ out: inout CWriter) {
    out.line("//")
    for line in phase.pseudoCode { out.line("//   " + line) }
    out.line("SL_KERNEL SL_BOUNDS void \(kernel)_\(phase.name)(")
    out.line(
      "    "
        + (parameters + ["SL_CONSTANT_ARGUMENT arguments given) {"]).joined(separator: ",\n    "))
  }

  /// A phase whose blocks go through chunks: `reads` where it reads out, and else it sums up segments.
  private func walks(_ phase: TileProgram.Phase, reads: Bool) -> String {
    var out = CWriter()
    let (tiles, heads) = (program.valueTiles, reads ? "args->query_heads" : "args->heads")
    let name = "walks_of_\(phase.name)"
    // What a sequence's last segment adds is in no state before another.
    let count = segments.map { reads ? $0 : $0 - 1 }
    let each = segments == nil ? "" : reads ? " segment," : " segment but the last,"
    out.line("// The walks of \(phase.name), one a sequence,\(each) head and value tile.")
    out.block("struct \(name)") { out in
      out.line("const arguments *args;")
      out.line("int state_row, o_token;")
      out.block("SL_MEMBER int count() const") {
        $0.line("return (int)sequences_of(args) * \(count ?? 1) * (int)\(heads) * \(tiles);")
      }
      out.block("SL_MEMBER maps_of maps(const sl_place &place) const") { out in
        out.line("maps_of maps;")
        out.line("maps.scale = args->scale;")
        for name in scalars.parameters { out.line("maps.\(name) = args->\(name)[place.head];") }
        for tensor in scalars.tokens {
          let name = tensor.name
          out.line("maps.\(name)_step = args->layout ? 1 : args->heads;")
          out.line(
            "maps.\(name) = args->\(name) + place.batch * args->length * args->heads "
              + "+ place.head * (args->layout ? args->length : 1);")
        }
        if scalars.parameters.isEmpty && scalars.tokens.isEmpty { out.line("(void)place;") }
        out.line("return maps;")
      }
      out.block("SL_MEMBER sl_place at(int walk) const") { place(&$0, tiles, heads, reads) }
    }
    var lines = out.lines
    lines[lines.count - 1] = "};"
    var function = CWriter()
    function.line()
    function.line("// \(phase.name): every block takes its share of the walks.")
    open(phase, tensors.map { "SL_CONSTANT_ARGUMENT sl_tensor \($0)_tensor" }, &function)
    function.line("  const arguments *const args = &given;")
    function.line("  const sl_tensors tensors = {")
    for name in tensors.prefix(3) { function.line("    &\(name)_tensor,") }
    function.line("    \(gate.map { "&\($0)_tensor" } ?? "NULL"),")
    function.line("    &\(TensorName.output)_tensor,")
    function.line("  };")
    function.line("  const \(name) walks = {")
    function.line("    args, \(program.value),")
    function.line(
      "    args->layout ? \(program.value) : (int)args->query_heads * \(program.value),")
    function.line("  };")
    function.line("  sl_anchored<\(reads)>(walks, tensors);")
    function.line("}")
    return (lines + function.lines).joined(separator: "\n") + "\n"
  }

  // MARK: The processor's side

  /// Shared memory of each phase's blocks.
  var sharedBytes: [Int] { program.phases.map { $0.name == "combine" ? 0 : bytes } }

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
    lines.append("// Tokens and walks are counted in 32 bits.")
    let walksInAll =
      "sequences_of(args) * args->query_heads * \((segments ?? 1) * program.valueTiles)"
    lines.append(
      "if (!problem && (args->length > 0x7fffffc0 || \(walksInAll) > 0x7fffffff)) problem = 3;")
    lines.append("// States are written sixteen bytes at a time.")
    lines.append("if (!problem && (uintptr_t)args->final_state % 16) problem = 6;")
    lines.append("void *given[] = {\(given)};")
    func walks(_ count: Int?) -> String {
      "sequences_of(args) * \(count ?? 1) * \(program.valueTiles)"
    }
    for (index, phase) in program.phases.enumerated() {
      let (blocks, from) =
        switch phase.name {
        case "combine":
          ("sequences_of(args) * args->heads * \(state / Self.combining)", tensors.count)
        case "summarize": ("resident(\(walks(segments.map { $0 - 1 })) * args->heads)", 0)
        default: ("resident(\(walks(segments)) * args->query_heads)", 0)
        }
      lines.append("if (!problem) problem = add(&all, \(index), \(blocks), given + \(from));")
    }
    return lines
  }
}
