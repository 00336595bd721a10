import Recurrences
import Schedules
import Targets
import TileIR

/// Prints one phase as a C function that does one worker's share.
struct PhaseEmitter {
  let program: TileProgram
  let phase: TileProgram.Phase
  let target: Target
  let kernel: String
  /// How the plan wants the innermost loops.
  let inner: InnerLoops
  let layout: ScratchLayout
  /// What a step's kernel has copied to shared memory before it begins.
  var landing: StepLanding?
  let usesMatrixUnit: Bool
  /// Whether consecutive maps over the same rows become one loop.
  let fusesRows: Bool
  /// Whether the kernel is one in double.
  var isDouble: Bool { target.isDouble }
  /// Whether it is walked in stretches: from a chunk to another, which the caller says.
  let hasStretches: Bool
  /// Tiles that some statement reads.
  let read: Set<String>
  /// Tiles through which bodies of the phase hand numbers to each other.
  let inherited: Set<String>
  /// The tile of queries that a fold may have written in passing.
  var foldedQueries: String?
  var out = CWriter(depth: 1)

  init(
    program: TileProgram, phase: TileProgram.Phase, target: Target, kernel: String,
    inner: InnerLoops = InnerLoops(), fusesRows: Bool = false, hasStretches: Bool = false
  ) {
    self.program = program
    self.phase = phase
    self.target = target
    self.kernel = kernel
    self.inner = inner
    self.hasStretches = hasStretches
    layout = ScratchLayout(phase, target)
    read = phase.read
    inherited = phase.inherited
    usesMatrixUnit = MatrixUnit.isUsed(by: phase, target, layout)
    self.fusesRows = fusesRows || usesMatrixUnit
  }

  /// The function's text, its comment included.
  mutating func function() -> String {
    if phase.grid.contains(.segment) {
      out.line("// A segment without chunks has no work, and no slot of its own.")
      out.line("if (segment >= segments) return;")
    }
    if hasStretches { writeStretch() } else { write(phase.body) }
    let body = out
    var text = CWriter()
    text.line("// \(phase.name): one worker's share\(hasStretches ? ", or a stretch of it" : "").")
    text.line("//")
    for line in phase.pseudoCode { text.line("//   " + line) }
    var head = "static void \(phase.name)(const arguments *args, int64_t item, char *scratch)"
    if hasStretches {
      text.line("static void \(phase.name)(")
      head =
        "    const arguments *args, int64_t item, int64_t first_chunk, int64_t end_chunk, char *scratch)"
    }
    text.block(head) { text in
      declare(&text, for: body.lines)
      if phase.tiles.isEmpty { text.line("(void)scratch;") }
    }
    // The declarations close no block: the body goes before its last brace.
    var lines = text.lines
    lines.removeLast()
    return (lines + [""] + body.lines + ["}"]).joined(separator: "\n") + "\n"
  }

  /// A walk's chunks, after what comes before the first of them and before what comes after the last.
  private mutating func writeStretch() {
    let walk = phase.body.firstIndex(where: \.holdsChunks)!
    let (before, after) = (phase.body[..<walk], phase.body[(walk + 1)...])
    if !before.isEmpty { block("if (first_chunk == 0)", Array(before)) }
    write([phase.body[walk]])
    if !after.isEmpty { block("if (last_chunk == chunks)", Array(after)) }
  }

  mutating func write(_ body: [Statement]) {
    var rest = body[...]
    while let statement = rest.first {
      if let tile = foldedQueries, case .operation(.map(let map)) = statement,
        map.target.tile == tile
      {
        foldedQueries = nil
        block("if (!folded_queries)", [statement])
        rest = rest.dropFirst()
        continue
      }
      if let run = FoldRun(rest, self) {
        write(run)
        rest = rest.dropFirst(run.statements.count)
        continue
      }
      if case .operation(.recur(let recur)) = statement,
        case .operation(.storeTokens(let store))? = rest.dropFirst().first,
        write(recur, storing: store)
      {
        rest = rest.dropFirst(2)
        continue
      }
      if let run = RowRun(rest, self) {
        write(run)
        rest = rest.dropFirst(run.operations.count)
        continue
      }
      if let sum = MatrixSum(rest, self) {
        write(sum)
        rest = rest.dropFirst(sum.statements)
        continue
      }
      if target.device != nil, case let maps = PhaseEmitter.independentMaps(rest), maps.count > 1 {
        writeDevice(maps)
        rest = rest.dropFirst(maps.count)
        continue
      }
      rest = rest.dropFirst()
      switch statement {
      case .note(let text): out.comment(text)
      case .operation(let operation): write(operation)
      case .firstValueTile(let inner):
        guard program.valueTiles > 1 else {
          write(inner)
          continue
        }
        block("if (valueTile == 0)", inner)
      case .when(let condition, let inner, let otherwise):
        let test = test(condition)
        if inner.isEmpty {
          block("if (!\(test.contains(" ") ? "(\(test))" : test))", otherwise)
        } else {
          block("if (\(test))", inner)
          block("} else", otherwise)
        }
      case .loop(let loop, let inner):
        block(head(of: loop), inner, first: declarations(of: loop))
      }
    }
  }

  private mutating func block(_ head: String, _ inner: [Statement], first: [(String, String)] = [])
  {
    let outside = out
    out = CWriter(depth: 0)
    write(inner)
    let lines = out.lines
    out = outside
    out.block(head) {
      for line in PhaseEmitter.needed(first, for: lines) { $0.longLine(line) }
      $0.lines(lines)
    }
  }

  /// What a turn of a loop may need to know: how many of a chunk's tokens the sequence has, or where
  /// a head's tensors lie.
  private func declarations(of loop: Loop) -> [(String, String)] {
    switch loop {
    case .chunks(let name), .chunksBackward(let name):
      let start = program.chunk == 1 ? name : "\(program.chunk) * \(name)"
      return [
        ("tokens", "const int64_t tokens = sl_least(\(program.chunk), length - \(start));")
      ]
    case .heads: return headDeclarations
    case .queryHeads, .segments, .tokens, .range: return []
    }
  }

  /// A limit as C: powers of two are exact, and look it.
  private static func limit(_ value: Double) -> String {
    value.significand == 1 ? "0x1p\(value.exponent)f" : "\(Float(value))f"
  }

  /// A condition as C.
  private func test(_ condition: Condition) -> String {
    func word(_ name: String, _ bound: Condition.Bound) -> String {
      let name = typeOf(bound.view) == .bf16 ? "\(name)_bf16" : name
      let arguments = size(bound.view) + operand(bound.view) + [PhaseEmitter.limit(bound.limit)]
      return "\(name)(\(arguments.joined(separator: ", ")))"
    }
    return
      ((condition.given.map { ["args->\($0)"] } ?? [])
      + condition.above.map { word("sl_all_above", $0) }
      + condition.magnitudeBelow.map { word("sl_all_magnitudes_below", $0) })
      .joined(separator: " && ")
  }

  private func head(of loop: Loop) -> String {
    func loopHead(_ name: String, _ from: String, _ to: String) -> String {
      "for (int64_t \(name) = \(from); \(name) < \(to); ++\(name))"
    }
    switch loop {
    case .chunks(let name): return loopHead(name, "first_chunk", "last_chunk")
    case .heads(let name): return loopHead(name, "0", "own_heads")
    case .chunksBackward(let name):
      return "for (int64_t \(name) = last_chunk - 1; \(name) >= first_chunk; --\(name))"
    case .tokens(let name, false): return loopHead(name, "0", "tokens")
    case .tokens(let name, true):
      return "for (int64_t \(name) = tokens - 1; \(name) >= 0; --\(name))"
    case .queryHeads(let name): return loopHead(name, "0", "group")
    case .segments(let name): return loopHead(name, "0", "segments")
    case .range(let name, let from, let to, false):
      return loopHead(name, c(from), c(to))
    case .range(let name, let from, let to, true):
      return "for (int64_t \(name) = \(c(to)) - 1; \(name) >= \(c(from)); --\(name))"
    }
  }

  /// An index as C.
  func c(_ index: Index) -> String {
    var parts = index.terms.filter { $0.factor != 0 }.map {
      $0.factor == 1 ? $0.variable : "\($0.factor) * \($0.variable)"
    }
    if index.constant != 0 || parts.isEmpty { parts.append(String(index.constant)) }
    return parts.joined(separator: " + ")
  }

  /// The same where it stands as a factor.
  func factor(_ index: Index) -> String {
    let text = c(index)
    return text.contains(" ") ? "(\(text))" : text
  }
}
