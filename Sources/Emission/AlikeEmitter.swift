import Recurrences
import Schedules
import TileIR

/// Prints the kernel of `warpgroup-alike`: what the words of `templates/cuda/alike.cuh` are told of the
/// recurrence and of where its tensors lie.
struct AlikeEmitter: ChunkWalkEmitter {
  let specification: KernelSpecification
  let form: DiagonalForm
  let kernel: String
  /// Columns of the state that a walk has.
  let valueTile: Int
  let segments: Int?
  /// The tensors that are multiplied, each with the number a token that it is multiplied with.
  let query: (name: String, weight: Expression)
  let key: (name: String, weight: Expression)
  let value: String

  var vocabularies: [String] {
    [
      "words.cuh", "hopper.cuh", "turned_products.cuh", "turned_state.cuh", "alike.cuh",
      "alike_numbers.cuh", "alike_scores.cuh",
    ]
      + (keepsStateApart
        ? ["alike_state.cuh", "alike_outputs.cuh"] : ["alike_handed.cuh", "alike_products.cuh"])
      + ["alike_walks.cuh"] + (segments == nil ? [] : ["alike_sums.cuh", "segments.cuh"])
  }
  let counts = ""
  var workspaceBytes: String? { segments == nil ? nil : segmentBytes }

  /// Nil for a kernel of another schedule.
  init?(_ specification: KernelSpecification, _ plan: Plan, kernel: String) {
    guard plan.schedule == WarpgroupAlike().name,
      let form = specification.normalForm.diagonal, case .input(let value, _) = form.value,
      let query = WarpgroupAlike.operand(.query, in: form.query, specification),
      let key = WarpgroupAlike.operand(.operand, in: form.key, specification)
    else { return nil }
    self.specification = specification
    self.form = form
    self.kernel = kernel
    self.query = query
    self.key = key
    self.value = value
    valueTile = plan.valueTile
    segments = if case .segments(let count) = plan.materialization { count } else { nil }
  }

  // MARK: The recurrence

  private var allInputs: [Recurrence.Input] {
    inputs([query.weight, key.weight, logDecay, skip])
  }
  private var weighsKeys: Bool { key.weight != .constant(1) }
  /// Whether queries' numbers differ from token to token.
  private var weighsQueries: Bool { inputs([query.weight]).contains(where: isToken) }

  // MARK: Sizes

  /// Whether one warpgroup keeps the state, and two others have the outputs of every other chunk each: one
  /// that did both would multiply for 640 clocks of a chunk and wait for itself in between.
  private var keepsStateApart: Bool { groups == 1 && panels <= 2 }
  private var threads: Int { 128 * (keepsStateApart ? 4 : groups + 2) }

  /// Places of chunks' q, k and v and of their numbers. A k is free later than its q. With outputs by turns
  /// the number of q's places is even: each belongs to one warpgroup, which knows all that was there before.
  private var stages: (queries: Int, keys: Int, values: Int, numbers: Int) {
    if keepsStateApart {
      let fits = bytes(queries: 4, keys: 4, values: 5, numbers: 5) <= Self.sharedMemory
      return (4, 4, 5, fits ? 5 : 4)
    }
    let both = (Self.sharedMemory - fixedBytes(values: 2, numbers: 2) - 256) / (panels * Self.panel)
    return (min(4, both / 2), min(4, both - both / 2), 2, 2)
  }
  /// Bytes beside the rings of q and k, as alike.cuh has them: v, what is handed on, outputs, numbers.
  private func fixedBytes(values: Int, numbers: Int) -> Int {
    let handed = keepsStateApart ? 2 * panels : 2, outputs = keepsStateApart ? 2 : groups
    let weights = [weighsKeys, weighsQueries, skip != nil || !keepsStateApart].filter { $0 }.count
    let factors = keepsStateApart && logDecay != nil ? 384 + 256 + 256 : 0
    return (values * groups + handed + outputs) * Self.panel
      + numbers * (528 + 512 + 256 * weights + factors)
  }
  /// All of it, with the barriers.
  private func bytes(queries: Int, keys: Int, values: Int, numbers: Int) -> Int {
    let barriers =
      2 * queries + (keepsStateApart ? 3 * values + 4 : 2 * (keys + values) + numbers + 2)
    return fixedBytes(values: values, numbers: numbers) + (queries + keys) * panels * Self.panel
      + 8 * barriers
  }
  /// Registers of a thread that has a state, of one that has scores or outputs, and of the others: of 65,536.
  private var registers: (state: Int, scores: Int, others: Int) {
    if keepsStateApart { return (152, 152, 56) }
    if groups == 1 { return (232, 112, 40) }
    return panels > 2 ? (208, 64, 32) : (184, 80, 56)
  }

  /// A stage of a kernel that sums up segments, and how many there are.
  private var summedBytes: Int { (groups + panels) * Self.panel + 1024 }
  private var sumStages: Int { min(8, (Self.sharedMemory - 128) / summedBytes) }
  private var sumThreads: Int { 128 * (groups + 1) }

  var kernelNames: [String] {
    (segments == nil ? [] : ["\(kernel)_summarize", "\(kernel)_combine"]) + ["\(kernel)_walk"]
  }
  var kernelThreads: [Int] {
    (segments == nil ? [] : [sumThreads, Self.combining]) + [threads]
  }
  var kernelMemory: [Int] {
    let (queries, keys, values, numbers) = stages
    return (segments == nil ? [] : [sumStages * (summedBytes + 16), 0])
      + [bytes(queries: queries, keys: keys, values: values, numbers: numbers)]
  }

  var settings: String {
    sizeSettings + """
      #define SL_KEYS_WEIGHED \(weighsKeys ? 1 : 0)
      #define SL_QUERIES_WEIGHED \(weighsQueries ? 1 : 0)
      #define SL_SKIPS \(skip == nil ? 0 : 1)
      #define SL_QUERY_STAGES \(stages.queries)
      #define SL_KEY_STAGES \(stages.keys)
      #define SL_VALUE_STAGES \(stages.values)
      #define SL_NUMBER_STAGES \(stages.numbers)
      #define SL_SUM_STAGES \(sumStages)
      #define SL_OUTPUT_GROUPS \(keepsStateApart ? 2 : 0)
      #define SL_STATE_REGISTERS \(registers.state)
      #define SL_SCORE_REGISTERS \(registers.scores)
      #define SL_OTHER_REGISTERS \(registers.others)

      """
  }

  // MARK: Maps

  /// A map of a token's numbers.
  private func text(_ expression: Expression) -> String {
    CExpression(isVector: true) { name in
      guard let input = specification.recurrence.input(name) else { return "scale" }
      return isToken(input) ? "token.\(name)" : "own_\(name)"
    }.text(expression)
  }

  /// The struct `maps_of`.
  var maps: String {
    var out = CWriter()
    out.line("// What the recurrence says of a token, for a walk's head.")
    out.block("struct maps_of") { out in
      out.line("float scale;")
      for input in allInputs {
        if isToken(input) {
          out.line("const \(PhaseEmitter.element(type(input))) *at_\(input.name);")
          out.line("int step_\(input.name);")
        } else {
          out.line("float own_\(input.name);")
        }
      }
      tokenNumbers(allInputs.filter(isToken), row: "(int64_t)row", &out)
      function("log_decay", logDecay ?? .constant(0), &out)
      out.line("// What q, k and, beside its score, the token's own value are multiplied with.")
      function("query_weight", query.weight, &out)
      function("key_weight", key.weight, &out)
      function("beside", skip ?? .constant(0), &out)
    }
    return out.lines.dropLast().joined(separator: "\n") + "\n};\n"
  }

  private func function(_ name: String, _ map: Expression, _ out: inout CWriter) {
    out.block("SL_MEMBER float \(name)(const token_numbers &token) const") {
      $0.line("(void)token;")
      $0.longLine("return \(text(map));")
    }
  }

  // MARK: The kernel

  var functions: String {
    var text = CWriter()
    text.lines(Self.rowOf)
    if let segments {
      text.line("// The sums, one a sequence, segment but the last, head and value tile.")
      walks(of: "summarize", sumPlaces(segments), &text)
      text.line("// summarize: every block takes its share of the segments.")
      text.block(
        "SL_KERNEL SL_BOUNDS_OF(\(sumThreads), 1) void \(kernel)_summarize(\n"
          + "    SL_CONSTANT_ARGUMENT sl_tensor keys, SL_CONSTANT_ARGUMENT sl_tensor values,\n"
          + "    SL_CONSTANT_ARGUMENT arguments given)"
      ) {
        $0.lines([
          "const walks_of_summarize walks = {&given, 0};", "sl_alike_sums(walks, &keys, &values);",
        ])
      }
      text.line()
      combine(&text)
    }
    text.line(
      "// The walks, one a sequence,\(segments == nil ? "" : " segment,") query head and value tile."
    )
    walks(of: "walk", walkPlaces, &text)
    text.line("// walk: every block takes its share of the walks.")
    text.block(
      "SL_KERNEL SL_BOUNDS_OF(\(threads), 1) void \(kernel)_walk(\n"
        + "    SL_CONSTANT_ARGUMENT sl_tensor queries, SL_CONSTANT_ARGUMENT sl_tensor outputs,\n"
        + "    SL_CONSTANT_ARGUMENT sl_tensor keys, SL_CONSTANT_ARGUMENT sl_tensor values,\n"
        + "    SL_CONSTANT_ARGUMENT arguments given)"
    ) {
      $0.lines([
        "const walks_of_walk walks = {",
        "    &given, (given.layout ? 1 : (int)given.query_heads) * \(specification.value),",
        "};",
        "sl_alike_walks(walks, &queries, &keys, &values, &outputs);",
      ])
    }
    return text.text
  }

  /// A struct of walks, with the maps of each.
  private func walks(of kernel: String, _ places: [String], _ text: inout CWriter) {
    var out = CWriter()
    out.block("struct walks_of_\(kernel)") { out in
      out.lines(["typedef maps_of maps;", "const arguments *args;", "int o_token;"])
      out.lines(places)
      out.lines(["  return place;", "}"])
      out.block("SL_MEMBER maps_of maps_at(const sl_place &place) const") { out in
        out.line("maps_of found;")
        out.line("(void)place;")
        out.line("found.scale = args->scale;")
        for input in allInputs {
          let (name, isQuery) = (input.name, input.role == .query)
          guard isToken(input) else {
            out.line("found.own_\(name) = args->\(name)[place.head];")
            continue
          }
          let (head, heads) = isQuery ? ("query_head", "query_heads") : ("head", "heads")
          out.lines([
            "found.at_\(name) = args->\(name)",
            "    + row_of(args, place.batch, place.begin, place.\(head), args->\(heads));",
            "found.step_\(name) = args->layout ? 1 : (int)args->\(heads);",
          ])
        }
        out.line("return found;")
      }
    }
    text.lines(out.lines.dropLast() + ["};", ""])
  }

  // MARK: The processor's side

  var launch: [String] {
    Self.countWalks(tiles * (segments ?? 1))
      + Self.describe("queries", query.name, specification.key, "query_heads")
      + Self.describe("keys", key.name, specification.key, "heads")
      + Self.describe("values", value, specification.value, "heads")
      + Self.describe("outputs", TensorName.output, specification.value, "query_heads")
      + ["void *given[] = {&queries, &outputs, &keys, &values, (void *)args};"]
      + launchSums(0, from: 2, arguments: 4)
      + [
        "if (!problem) problem = add(&all, \(kernelNames.count - 1), resident(walks), given);"
      ]
  }
}
