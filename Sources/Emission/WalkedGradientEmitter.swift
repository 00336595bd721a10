import Recurrences
import Schedules
import TileIR

/// Prints the kernels of `walked-gradient`: what the words of `templates/cuda/gradient_walks.cuh` are told
/// of the recurrence and of where its tensors lie.
struct WalkedGradientEmitter: CardGradient {
  let specification: KernelSpecification
  let kernel: String
  private let query: String
  private let key: String
  private let value: String
  private let keyGate: String
  private let valueGate: String

  let vocabularies = ["gradient_walks.cuh"]
  let keepsChunks = false

  /// Nil for a gradient of another schedule.
  init?(_ specification: KernelSpecification, _ plan: Plan?, kernel: String) {
    typealias Own = WalkedGradient
    guard let plan, plan.schedule == Own().name,
      let form = specification.normalForm.diagonal,
      let query = Own.scaledTensor(form.query), let key = Own.tensor(form.key),
      let value = Own.tensor(form.value), let keyGate = form.keyGate.flatMap(Own.logarithm),
      let valueGate = form.valueGate.flatMap(Own.logarithm)
    else { return nil }
    self.specification = specification
    self.kernel = kernel
    (self.query, self.key, self.value) = (query, key, value)
    (self.keyGate, self.valueGate) = (keyGate, valueGate)
  }

  // MARK: Sizes

  private var K: Int { specification.key }
  private var V: Int { specification.value }
  /// Keys of a walk, with zeros past the last one: sixteen a warp.
  private var keys: Int { (K + 15) / 16 * 16 }
  private var tiles: Int { (V + WalkedGradient.tile - 1) / WalkedGradient.tile }
  private var walkThreads: Int { 2 * keys }
  /// What the template's places add up to.
  private var walkMemory: Int { 640 * keys + 20480 }
  /// Blocks of 32 keys.
  private var keyBlocks: Int { (K + 31) / 32 }
  private static let queryThreads = 256

  /// Name, threads, shared memory and blocks, in the order of launches.
  private var launches: [(name: String, threads: Int, memory: Int, blocks: String)] {
    [
      ("ahead", walkThreads, walkMemory, "items * \(tiles)"),
      (
        "queries", Self.queryThreads, 0,
        "(rows * \(K) + \(Self.queryThreads - 1)) / \(Self.queryThreads)"
      ),
      ("back", walkThreads, walkMemory, "items * \(tiles)"),
      ("keys", 32, 0, "items * \(keyBlocks)"),
    ]
  }
  var kernelNames: [String] { launches.map { "\(kernel)_\($0.name)" } }
  var kernelThreads: [Int] { launches.map(\.threads) }
  var kernelMemory: [Int] { launches.map(\.memory) }

  var settings: String {
    """
    #define SL_WALK_KEYS \(keys)
    #define SL_WALK_OWN_KEYS \(K)
    #define SL_WALK_OWN_VALUES \(V)
    #define SL_WALK_TILES \(tiles)

    """
  }

  // MARK: The card's side

  private static let arguments =
    "\n    SL_CONSTANT_ARGUMENT backward_arguments given, SL_CONSTANT_ARGUMENT int query"

  var functions: String {
    var out = CWriter()
    place(&out)
    out.line()
    walk("ahead", "A query head's walk forward: 64 values a block.", back: false, &out)
    out.line()
    queries(&out)
    out.line()
    walk("back", "Its walk back.", back: true, &out)
    out.line()
    out.line("// dk, and the adjoint of the keys' decays: 32 keys a block.")
    out.block("SL_KERNEL SL_BOUNDS_OF(32, 1) void \(kernel)_keys(\(Self.arguments))") {
      $0.lines([
        "const int key = (int)(SL_BLOCK % \(keyBlocks)) * 32 + SL_THREAD;",
        "if (key < \(K))",
        "  sl_walked::sl_leave_key(walk_of(&given, SL_BLOCK / \(keyBlocks), query), key);",
      ])
    }
    return out.text
  }

  private func place(_ out: inout CWriter) {
    func pointers(_ names: [(member: String, tensor: String)], _ row: String, _ columns: Int)
      -> [String]
    {
      names.map { "walk.\($0.member) = args->\($0.tensor) + \(row) * \(columns);" }
    }
    func adjoint(_ name: String) -> String { TensorName.adjoint(of: name) }
    out.line(
      "// Where a query head of a sequence and head lies; the workspace has rows of all tokens,")
    out.line("// head by head.")
    out.block(
      "SL_WORD sl_walked::sl_walk walk_of("
        + "const backward_arguments *args, const int64_t item, const int query)"
    ) { out in
      out.lines([
        "const int64_t heads = args->heads, rows = args->batch * args->length;",
        "const int64_t sequence = item / heads, head = item % heads;",
        "const int64_t queries = args->query_heads / heads, own_query = head * queries + query;",
        "const int64_t begin = args->cu_seqlens ? args->cu_seqlens[sequence] : 0;",
        "const int64_t end = sl_end_of_tokens(args->cu_seqlens, sequence, args->length);",
        "const int64_t batch = args->cu_seqlens ? 0 : sequence;",
        "const int64_t row = args->layout ? (batch * heads + head) * args->length + begin",
        "                                 : (batch * args->length + begin) * heads + head;",
        "const int64_t query_row = args->layout",
        "    ? (batch * args->query_heads + own_query) * args->length + begin",
        "    : (batch * args->length + begin) * args->query_heads + own_query;",
        "const int64_t place = head * rows + batch * args->length + begin;",
        "const int64_t state = item * \(K * V), states = heads * backward_sequences_of(args);",
        "float *const parts = (float *)args->workspace;",
        "float *const terms = parts + \(tiles * keys) * heads * rows;",
        "float *const reads = terms + \(keys) * heads * rows;",
        "float *const ends = reads + \(V) * heads * rows;",
        "float *const end_parts = ends + \(K * V) * states;",
        "float *const key_sums = end_parts + \(tiles * keys) * states;",
        "sl_walked::sl_walk walk;",
        "walk.length = (int)(end - begin);",
        "walk.query = query;",
        "walk.is_last = query == queries - 1;",
        "walk.query_step = \(K) * (args->layout ? 1 : (int)args->query_heads);",
        "walk.output_step = \(V) * (args->layout ? 1 : (int)args->query_heads);",
        "walk.key_step = \(K) * (args->layout ? 1 : (int)heads);",
        "walk.value_step = \(V) * (args->layout ? 1 : (int)heads);",
      ])
      out.lines(pointers([("q", query)], "query_row", K))
      out.lines(pointers([("d_o", adjoint(TensorName.output))], "query_row", V))
      out.lines(
        pointers(
          [
            ("k", key), ("key_gate", keyGate), ("d_k", adjoint(key)),
            ("d_key_gate", adjoint(keyGate)),
          ], "row", K))
      out.lines(
        pointers(
          [
            ("v", value), ("value_gate", valueGate), ("d_v", adjoint(value)),
            ("d_value_gate", adjoint(valueGate)),
          ], "row", V))
      out.lines([
        "walk.parts = parts + \(keys) * place;",
        "walk.parts_step = \(keys) * heads * rows;",
        "walk.terms = terms + \(keys) * place;",
        "walk.reads = reads + \(V) * place;",
        "walk.key_sums = key_sums + \(keys) * place;",
        "walk.value_sums = key_sums + \(keys) * heads * rows + \(V) * place;",
        "walk.end = ends + state;",
        "walk.end_parts = end_parts + \(tiles * keys) * item;",
      ])
      let states = [
        ("initial", TensorName.initialState),
        ("d_final", adjoint(TensorName.finalState)),
        ("d_initial", adjoint(TensorName.initialState)),
      ]
      for (member, tensor) in states {
        out.line("walk.\(member) = args->\(tensor) ? args->\(tensor) + state : NULL;")
      }
      out.line("return walk;")
    }
  }

  private func walk(_ name: String, _ comment: String, back: Bool, _ out: inout CWriter) {
    out.line("// \(comment)")
    out.block(
      "SL_KERNEL SL_BOUNDS_OF(\(walkThreads), 1) void \(kernel)_\(name)(\(Self.arguments))"
    ) {
      $0.lines([
        "SL_SHARED scratch[];",
        "sl_walked::sl_walk_tile<\(back)>(",
        "    sl_address(scratch), walk_of(&given, SL_BLOCK / \(tiles), query),",
        "    (int)(SL_BLOCK % \(tiles)), given.scale);",
      ])
    }
  }

  private func queries(_ out: inout CWriter) {
    out.line("// dq of that query head.")
    out.block(
      "SL_KERNEL SL_BOUNDS_OF(\(Self.queryThreads), 1) void \(kernel)_queries(\(Self.arguments))"
    ) {
      $0.lines([
        "const int64_t rows = given.batch * given.length;",
        "const int64_t number = SL_BLOCK * \(Self.queryThreads) + SL_THREAD;",
        "if (number >= given.heads * rows * \(K)) return;",
        "const int64_t place = number / \(K), head = place / rows, row = place % rows;",
        "const int64_t own_query = head * (given.query_heads / given.heads) + query;",
        "const int64_t query_row = given.layout",
        "    ? (row / given.length * given.query_heads + own_query) * given.length + row % given.length",
        "    : row * given.query_heads + own_query;",
        "const int64_t at = query_row * \(K) + number % \(K);",
        "const int64_t part = place * \(keys) + number % \(K);",
        "float *const parts = (float *)given.workspace;",
        "float *const terms = parts + \(tiles * keys) * given.heads * rows;",
        "sl_walked::sl_leave_query(",
        "    given.\(TensorName.adjoint(of: query)) + at, given.\(query) + at, terms + part, parts + part,",
        "    \(keys) * given.heads * rows, given.scale);",
      ])
    }
  }

  // MARK: The processor's side

  var workspaceBytes: String {
    let row = tiles * keys + keys + V
    // What query heads share is added up from one to the next.
    let shared = "(args->query_heads > args->heads ? \(keys + V) : 0)"
    return "4 * args->heads * (args->batch * args->length * (\(row) + \(shared)) "
      + "+ sequences_of(args) * (int64_t)\(K * V + tiles * keys))"
  }

  func launch(_ first: Int) -> [String] {
    let pointers =
      specification.recurrence.inputs.map(\.name) + [TensorName.adjoint(of: TensorName.output)]
    return [
      "// Rows are read sixteen bytes at a time.",
      "uintptr_t places = 0;",
    ] + pointers.map { "places |= (uintptr_t)args->\($0);" } + [
      "if (!problem && places % 16) problem = 6;",
      "if (!problem && args->length > 0x7fffffc0) problem = 3;",
      "const int64_t rows = args->batch * args->length * args->heads;",
      "const int64_t items = sequences_of(args) * args->heads;",
      "for (int32_t query = 0; query < args->query_heads / args->heads; ++query) {",
      "  void *given[] = {(void *)args, &query};",
    ]
      + launches.enumerated().map { index, launch in
        "  if (!problem) problem = add(&all, \(first + index), \(launch.blocks), given);"
      } + ["  if (!problem) problem = launch(&all);", "}"]
  }
}
