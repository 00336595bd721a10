import Recurrences
import TileIR

extension PhaseEmitter {
  /// What a worker knows of its place and its tensors: only what its body reads.
  func declare(_ text: inout CWriter, for body: [String]) {
    let pointers = program.headTile == 1 ? tensorPointers : tensorPointers.filter { !$0.isOfHead }
    let all = scalars + pointers.map { ($0.name, $0.line) } + tilePointers
    for line in PhaseEmitter.needed(all, for: body) { text.longLine(line) }
  }

  /// What is known of the present one of a worker's heads.
  var headDeclarations: [(String, String)] {
    [("head", "const int64_t head = first_head + h;")]
      + tensorPointers.filter(\.isOfHead).map { ($0.name, $0.line) }
  }

  /// The declarations, a name and a line each, that the body needs.
  static func needed(_ declarations: [(String, String)], for body: [String]) -> [String] {
    var later = body
    var kept: [String] = []
    // From the last to the first: a declaration is kept if something after it needs it.
    for (name, line) in declarations.reversed()
    where later.contains(where: { PhaseEmitter.uses($0, name) }) {
      kept.append(line)
      later.append(line)
    }
    return kept.reversed()
  }

  /// Whether `name` stands in `text` as a word.
  static func uses(_ line: String, _ name: String) -> Bool {
    // Bytes, not characters: this is asked for every line and name, and is most of what emitting costs.
    let word = Array(name.utf8)
    func isWord(_ byte: UInt8) -> Bool {
      byte >= 128 || UInt8(ascii: "a")...UInt8(ascii: "z") ~= byte | 0x20
        || UInt8(ascii: "0")...UInt8(ascii: "9") ~= byte || byte == UInt8(ascii: "_")
    }
    let (slash, space) = (UInt8(ascii: "/"), UInt8(ascii: " "))
    var line = line
    return line.withUTF8 { text in
      guard text.count >= word.count else { return false }
      for place in 0...text.count - word.count {
        // What follows is a comment.
        if text[place] == slash, place + 1 < text.count, text[place + 1] == slash { return false }
        guard text[place] == word[0], text[place..<place + word.count].elementsEqual(word) else {
          continue
        }
        let end = place + word.count
        let before = place == 0 ? space : text[place - 1]
        let after = end == text.count ? space : text[end]
        if !isWord(before), !isWord(after), before != UInt8(ascii: ">"), before != UInt8(ascii: ".")
        {
          return true
        }
      }
      return false
    }
  }

  private var scalars: [(String, String)] {
    var list: [(String, String)] = []
    func add(_ name: String, _ value: String) {
      list.append((name, "const int64_t \(name) = \(value);"))
    }
    // The item counts through the grid, the last axis fastest.
    var divisor = "1"
    for axis in phase.grid.reversed() {
      let extent = extent(axis)
      let place =
        divisor == "1" ? "item" : "item / \(divisor.contains(" ") ? "(\(divisor))" : divisor)"
      let own = axis == phase.grid.first ? place : "\(place) % \(extent)"
      if axis == .head, program.headTile > 1 {
        add("first_head", "\(own) * \(program.headTile)")
      } else {
        add(axis.variable, own)
      }
      if extent != "1" { divisor = divisor == "1" ? extent : "\(divisor) * \(extent)" }
    }
    list.reverse()
    if program.headTile > 1 {
      let tile = program.headTile
      list.insert(
        ("head_tiles", "const int64_t head_tiles = (heads + \(tile - 1)) / \(tile);"), at: 0)
      add("own_heads", "sl_least(\(tile), heads - first_head)")
    }
    add("heads", "args->heads")
    list.insert(list.removeLast(), at: 0)
    add("group", "args->query_heads / args->heads")
    add("batch_row", "args->cu_seqlens ? 0 : sequence")
    add("begin", "args->cu_seqlens ? args->cu_seqlens[sequence] : 0")
    add(
      "end",
      target.device == nil
        ? "args->cu_seqlens ? args->cu_seqlens[sequence + 1] : args->length"
        : "sl_end_of_tokens(args->cu_seqlens, sequence, args->length)")
    add("length", "end - begin")
    add("chunks", "(length + \(program.chunk - 1)) / \(program.chunk)")
    switch program.segmentation {
    case .none: add("segment_chunks", "chunks")
    case .fixed(let count): add("segment_chunks", "(chunks + \(count - 1)) / \(count)")
    case .perChunk: add("segment_chunks", "1")
    }
    add("segments", "segment_chunks ? (chunks + segment_chunks - 1) / segment_chunks : 0")
    if hasStretches {
      add("last_chunk", "sl_least(end_chunk, chunks)")
    } else if phase.grid.contains(.segment) {
      add("first_chunk", "sl_least(segment * segment_chunks, chunks)")
      add("last_chunk", "sl_least(first_chunk + segment_chunks, chunks)")
    } else {
      add("first_chunk", "0")
      add("last_chunk", "chunks")
    }
    switch program.segmentation {
    case .none: break
    case .fixed(let count): add("slot", "\(count) * sequence")
    case .perChunk:
      add("slot", "(batch_row * args->length + begin) / \(program.chunk) + sequence")
    }
    if program.writesSnapshots {
      add("first_snapshot", "first_snapshot_of(args, batch_row, begin)")
    }
    if program.tensor(TensorName.states) != nil {
      add(
        "first_state",
        "batch_row * (args->length / \(program.chunk)) + begin / \(program.chunk)")
    }
    add("value_begin", "\(program.valueTile) * valueTile")
    add("value_columns", "sl_least(\(program.valueTile), \(program.value) - value_begin)")
    add("streams", "streams_output(args)")
    list.append(("scale", "const float scale = args->scale;"))
    return list
  }

  func extent(_ axis: GridAxis) -> String {
    program.extent(
      axis, sequences: "sequences", heads: program.headTile == 1 ? "heads" : "head_tiles")
  }

  /// C's name for an element type in memory.
  static func element(_ type: ElementType) -> String {
    switch type {
    case .f64: "double"
    case .f32: "float"
    case .bf16, .f16: "uint16_t"
    }
  }

  /// A pointer or stride of a tensor; a pointer is a head's own.
  private typealias TensorLine = (name: String, line: String, isOfHead: Bool)

  private var tensorPointers: [TensorLine] {
    var list: [TensorLine] = []
    let written = program.written
    for tensor in program.tensors {
      let type = PhaseEmitter.element(tensor.type)
      let name = tensor.name
      let size = tensor.rows * tensor.columns
      let qualifier = written.contains(tensor.name) || tensor.kind == .finalState ? "" : "const "
      switch tensor.kind {
      case .tokens, .queryTokens:
        let heads = tensor.kind == .tokens ? "heads" : "args->query_heads"
        let own = tensor.kind == .tokens ? "head" : "head * group"
        list.append(
          (
            "\(name)_token",
            "const int64_t \(name)_token = args->layout ? \(size) : \(times(heads, size));", false
          ))
        list.append(
          (
            "\(name)_head",
            "const int64_t \(name)_head = args->layout ? \(times("args->length", size)) : \(size);",
            false
          ))
        list.append(
          (
            "\(name)_in",
            "\(qualifier)\(type) *\(name)_in = (\(qualifier)\(type) *)args->\(name) + "
              + "batch_row * args->length * \(times(heads, size)) + begin * \(name)_token + "
              + "\(own) * \(name)_head;", true
          ))
      case .parameter:
        list.append(
          (
            "\(name)_in",
            "\(qualifier)float *\(name)_in = args->\(name) + \(times("head", size));", true
          ))
      case .initialState, .finalState:
        list.append(
          (
            "\(name)_in",
            "\(qualifier)float *\(name)_in = args->\(name) ? args->\(name) + "
              + "(sequence * heads + head) * \(size) : NULL;", true
          ))
      case .snapshot:
        list.append(
          (
            "\(name)_in",
            "float *\(name)_in = args->snapshot_every ? args->\(name) + "
              + "(first_snapshot * heads + head) * \(size) : NULL;", true
          ))
      case .chunkStates:
        list.append(
          (
            "\(name)_in",
            "const float *\(name)_in = args->\(name) ? args->\(name) + "
              + "(first_state * heads + head) * \(size) : NULL;", true
          ))
      case .partial:
        list.append(
          (
            "\(name)_in",
            "float *\(name)_in = \(name)_of(args) + (sequence * heads + head) * \(size);", true
          ))
      case .segment:
        list.append(
          (
            "\(name)_in",
            "float *\(name)_in = \(name)_of(args) + (slot * heads + head) * \(size);", true
          ))
      }
    }
    return list
  }

  func times(_ factor: String, _ size: Int) -> String {
    size == 1 ? factor : "\(factor) * \(size)"
  }

  private var tilePointers: [(String, String)] {
    layout.order.map { name in
      let place = layout.places[name]!
      let tile = place.tile
      let type = PhaseEmitter.element(tile.type)
      let shape = "\(tile.rows) x \(tile.columns)"
      return (
        name,
        "\(type) *const \(name) = (\(type) *)(\(place.isInMemory ? "memory" : "scratch") + \(place.offset));"
          + "  // \(shape): \(tile.meaning)"
      )
    }
  }
}

extension TileProgram {
  /// How many workers a phase has along an axis, as C.
  func extent(_ axis: GridAxis, sequences: String, heads: String) -> String {
    switch axis {
    case .sequence: sequences
    case .head: heads
    case .valueTile: String(valueTiles)
    case .segment:
      switch segmentation {
      case .none: "1"
      case .fixed(let count): String(count)
      case .perChunk: "most_segments(args)"
      }
    }
  }
}
