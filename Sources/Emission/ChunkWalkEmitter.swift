import Recurrences
import Schedules
import TileIR

/// What prints the forward kernels of a schedule that goes by products of warpgroups chunk by chunk, and
/// says how the processor launches them.
protocol ChunkWalkEmitter: CardKernels {
  var specification: KernelSpecification { get }
  var form: DiagonalForm { get }
  var kernel: String { get }
  /// Columns of the state that a walk has.
  var valueTile: Int { get }
  /// Segments of a sequence; nil where one block walks all of it.
  var segments: Int? { get }
  /// What both sides know of the workspace.
  var counts: String { get }
  /// What the recurrence says of a token, for the templates.
  var maps: String { get }
  /// Bytes of the workspace as C, where there is one.
  var workspaceBytes: String? { get }
  /// Describes the tensors that are copied and launches, inside `forward_on`.
  var launch: [String] { get }
}

extension ChunkWalkEmitter {
  static var panel: Int { 8192 }

  // MARK: The recurrence

  var logDecay: Expression? { form.keyGate.map(\.logarithm) }
  var skip: Expression? { form.skip.flatMap { $0.coefficient(of: form.value) } }

  /// The inputs that expressions read, each once, in the recurrence's order.
  func inputs(_ expressions: [Expression?]) -> [Recurrence.Input] {
    let names = Set(expressions.compactMap { $0 }.flatMap(\.inputNames))
    return specification.recurrence.inputs.filter { names.contains($0.name) }
  }
  func isToken(_ input: Recurrence.Input) -> Bool { input.role != .parameter }
  func type(_ input: Recurrence.Input) -> ElementType {
    switch input.role {
    case .query, .operand: specification.type
    case .gate: specification.gateType
    case .parameter: .f32
    }
  }

  /// The struct of a token's own numbers, one each, and the member that reads them; `row` says how a
  /// row's number enters an offset.
  func tokenNumbers(_ read: [Recurrence.Input], row: String, _ out: inout CWriter) {
    let members = read.map { "float \($0.name); " }.joined()
    out.line("struct token_numbers {\(members.isEmpty ? "" : " ")\(members)};")
    out.block("SL_MEMBER token_numbers token_at(int row) const") { out in
      out.line("token_numbers token;")
      if read.isEmpty { out.line("(void)row;") }
      for input in read {
        let word = type(input).isSums ? "sl_load" : "sl_load_\(type(input).rawValue)"
        out.line(
          "token.\(input.name) = \(word)(at_\(input.name) + \(row) * step_\(input.name));")
      }
      out.line("return token;")
    }
  }

  // MARK: Sizes

  /// Panels of 64 keys, with zeros past the last key; warpgroups of a walk; walks of a head.
  var panels: Int { (specification.key + 63) / 64 }
  var groups: Int { (valueTile + 63) / 64 }
  var tiles: Int { (specification.value + valueTile - 1) / valueTile }

  var sizeSettings: String {
    """
    #define SL_KEYS \(64 * panels)
    #define SL_VALUES \(64 * groups)
    #define SL_OWN_KEYS \(specification.key)
    #define SL_OWN_VALUES \(specification.value)
    #define SL_GATED \(form.keyGate == nil ? 0 : 1)

    """
  }

  // MARK: Texts

  static var rowOf: [String] {
    [
      "// The row of a token and head among all.",
      "SL_WORD int64_t row_of(",
      "    const arguments *args, int64_t batch, int64_t token, int64_t head, int64_t heads) {",
      "  return args->layout ? (batch * heads + head) * args->length + token",
      "                      : (batch * args->length + token) * heads + head;",
      "}",
      "",
    ]
  }

  /// Describes a bf16 tensor of the arguments, inside `forward_on`.
  static func describe(
    _ tensor: String, _ data: String, _ columns: Int, _ heads: String
  ) -> [String] {
    // 9 is bf16 in the driver's numbering.
    [
      "tensor \(tensor);",
      "if (!problem)",
      "  problem = describe_tensor(",
      "      &\(tensor), args->\(data), 9, 2, \(columns), (uint64_t)args->\(heads), 64, args);",
    ]
  }

  /// Tokens and walks are counted in 32 bits.
  static func countWalks(_ tiles: Int) -> [String] {
    [
      "// Tokens and walks are counted in 32 bits.",
      "const int64_t walks = sequences_of(args) * args->query_heads * \(tiles);",
      "if (!problem && (args->length > 0x7fffffc0 || walks > 0x7fffffff)) problem = 3;",
    ]
  }

  /// `count` and the beginning of `at` of a struct of walks, one a sequence, query head and value tile, or one
  /// a segment.
  var walkPlaces: [String] {
    let (key, value) = (specification.key, specification.value)
    if let segments { return segmentPlaces(segments) }
    return [
      "SL_MEMBER int count() const {",
      "  return (int)(sequences_of(args) * args->query_heads) * \(tiles);",
      "}",
      "SL_MEMBER sl_place at(int walk) const {",
    ] + walkedHead + [
      "  const int sequence = (int)own;"
    ] + Self.walkedSequence + [
      "  sl_place place;",
      "  place.batch = args->cu_seqlens ? 0 : sequence;",
      "  place.head = head;",
      "  place.query_head = own_head;",
      "  place.value = \(valueTile) * (walk % \(tiles));",
      "  place.begin = first_token;",
      "  place.length = end - first_token;",
      "  const int64_t state = ((int64_t)sequence * args->heads + place.head) * \(key * value);",
      "  place.initial = args->initial_state ? args->initial_state + state : NULL;",
      "  // Every query head of a group walks the state; the first one keeps it.",
      "  const bool keeps = args->final_state && head * group == own_head;",
      "  place.final = keeps ? args->final_state + state : NULL;",
      "  place.key_decay = NULL;",
      "  place.o = args->o",
      "      + row_of(args, place.batch, first_token, own_head, heads) * \(value)",
      "      + place.value;",
    ]
  }

  /// A walk's query head and head, and what is left of its number. No copy of the walk's can be asked for before, and
  /// divisions wait for each other: unsigned ones are shorter, and there are none by a group of 1.
  var walkedHead: [String] {
    [
      "  // Divisions that the first copy waits for: unsigned ones are shorter.",
      "  const uint32_t heads = (uint32_t)args->query_heads, rest = (uint32_t)walk / \(tiles);",
      "  const uint32_t own = rest / heads;",
      "  const int own_head = (int)(rest - own * heads);",
      "  int group = 1, head = own_head;",
      "  if (heads != (uint32_t)args->heads) {",
      "    group = (int)(heads / (uint32_t)args->heads);",
      "    head = own_head / group;",
      "  }",
    ]
  }

  /// The tokens of a walk's sequence.
  static var walkedSequence: [String] {
    [
      "  const int first_token = args->cu_seqlens ? (int)args->cu_seqlens[sequence] : 0;",
      "  const int end = (int)sl_end_of_tokens(args->cu_seqlens, sequence, args->length);",
    ]
  }
}

extension Gate {
  /// The decay's natural logarithm.
  var logarithm: Expression {
    if case .unary(.exp, let logarithm) = decay { return logarithm }
    return .unary(.log, decay)
  }
}
