import Schedules

/// What prints the forward kernels of a schedule that goes by products of warpgroups chunk by chunk, and
/// says how the processor launches them.
protocol ChunkWalkEmitter: CardKernels {
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
  /// Shared memory of a block of a card with products of warpgroups.
  static var sharedMemory: Int { 227 << 10 }

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

  /// `count` and the beginning of `at` of a struct of walks, one a sequence, query head and value tile.
  static func walkPlaces(tiles: Int, valueTile: Int, key: Int, value: Int) -> [String] {
    [
      "SL_MEMBER int count() const {",
      "  return (int)(sequences_of(args) * args->query_heads) * \(tiles);",
      "}",
      "SL_MEMBER sl_place at(int walk) const {",
      "  const int heads = (int)args->query_heads, rest = walk / \(tiles), own_head = rest % heads;",
      "  const int sequence = rest / heads, group = heads / (int)args->heads;",
      "  const int first_token = args->cu_seqlens ? (int)args->cu_seqlens[sequence] : 0;",
      "  const int end = (int)(args->cu_seqlens ? args->cu_seqlens[sequence + 1] : args->length);",
      "  sl_place place;",
      "  place.batch = args->cu_seqlens ? 0 : sequence;",
      "  place.head = own_head / group;",
      "  place.query_head = own_head;",
      "  place.value = \(valueTile) * (walk % \(tiles));",
      "  place.begin = first_token;",
      "  place.length = end - first_token;",
      "  const int64_t state = ((int64_t)sequence * args->heads + place.head) * \(key * value);",
      "  place.initial = args->initial_state ? args->initial_state + state : NULL;",
      "  // Every query head of a group walks the state; the first one keeps it.",
      "  place.final = args->final_state && own_head % group == 0 ? args->final_state + state : NULL;",
      "  place.o = args->o",
      "      + row_of(args, place.batch, first_token, own_head, heads) * \(value)",
      "      + place.value;",
    ]
  }
}
