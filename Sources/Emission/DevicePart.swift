import Recurrences
import Targets
import TileIR

/// One entry's share of a kernel for a card: sizes that both sides know, kernels, and the entry that
/// launches them.
///
/// Parts stand in one file, printed by the same emitters, so names that belong to an entry get a
/// prefix here.
struct DevicePart {
  let program: TileProgram
  let manifest: KernelManifest
  let target: Target
  /// `forward`, `backward` or `step`.
  let entry: String
  let pointers: EntryPointers
  /// How many kernels stand before this part's in the list of all.
  let firstKernel: Int
  /// The gradient by words of its own, if it is one.
  var gradient: (any CardGradient)?
  /// The kernels of chunks that are walked, made ready or as they come, if the forward entry has those.
  var walk: (any ChunkWalkEmitter)?

  private var kernel: String { manifest.name }
  /// Kernels that go by words of their own, if they do.
  private var ownKernels: (any CardKernels)? { if let gradient { gradient } else { walk } }
  /// The walk by products of warpgroups, if the program is one.
  var warpgroup: WarpgroupEmitter? {
    entry == "forward" ? WarpgroupEmitter(program, kernel: kernel) : nil
  }
  /// Whether the entry's kernels go by the words of warpgroups, and copy tensors that are described.
  var usesWarpgroups: Bool { warpgroup != nil || walk != nil }
  private var layouts: [ScratchLayout] { program.phases.map { ScratchLayout($0, target) } }
  /// What is copied to shared memory before a step begins, where copies run on their own.
  var landing: StepLanding? {
    entry == "step" ? StepLanding(program, target) : nil
  }

  /// The names that other parts have too become this part's own.
  private func own(_ text: String) -> String {
    guard entry != "forward" else { return text }
    let renamed = EntryEmitter.renamed(text, entry)
    guard entry == "backward" else { return renamed }
    return renamed.replacing("const arguments *", with: "const backward_arguments *")
      .replacing(
        "SL_CONSTANT_ARGUMENT arguments given",
        with: "SL_CONSTANT_ARGUMENT backward_arguments given")
  }

  // MARK: Both sides

  private var segmentTensors: [Tensor] {
    gradient?.keepsChunks == false ? [] : program.tensors.filter { $0.kind == .segment }
  }
  private var partialTensors: [Tensor] { program.tensors.filter { $0.kind == .partial } }
  private func floats(_ tensors: [Tensor]) -> Int {
    tensors.reduce(0) { $0 + $1.rows * $1.columns }
  }

  /// The grid of a phase, as C.
  private func blocks(_ phase: TileProgram.Phase) -> String {
    let extents = phase.grid.map {
      program.extent($0, sequences: "sequences_of(args)", heads: "args->heads")
    }.filter { $0 != "1" }
    return extents.isEmpty ? "1" : extents.joined(separator: " * ")
  }

  /// Bytes of a block's tiles that its shared memory does not hold, and the grid of the phase that has
  /// most of them.
  private var overflow: (bytes: Int, blocks: String)? {
    let most = zip(program.phases, layouts).max { $0.1.bytesInMemory < $1.1.bytesInMemory }
    guard !usesWarpgroups, let (phase, layout) = most, layout.bytesInMemory > 0 else { return nil }
    return (layout.bytesInMemory, blocks(phase))
  }

  /// Sizes of the grid and of the workspace.
  var counts: String {
    var out = CWriter()
    out.block("SL_ANYWHERE int64_t sequences_of(const arguments *args)") {
      $0.line("return args->cu_seqlens ? args->sequences : args->batch;")
    }
    if let walk, !walk.counts.isEmpty { out.lines(["", walk.counts]) }
    guard !segmentTensors.isEmpty else { return own(out.text) }
    if program.segmentation == .perChunk,
      program.phases.contains(where: { $0.grid.contains(.segment) })
    {
      out.line(
        "// At most: packed sequences are shorter, and the blocks without chunks have no work.")
      out.block("SL_ANYWHERE int64_t most_segments(const arguments *args)") {
        $0.line("return (args->length + \(program.chunk - 1)) / \(program.chunk);")
      }
    }
    out.block("SL_ANYWHERE int64_t slots_of(const arguments *args)") { out in
      if case .fixed(let count) = program.segmentation {
        out.line("return \(count) * sequences_of(args);")
      } else {
        out.line("return args->batch * args->length / \(program.chunk) + sequences_of(args);")
      }
    }
    return own(out.text)
  }

  /// The workspace in floats before a kind of tensors, as C.
  private var slotFloats: String { "\(floats(segmentTensors)) * slots_of(args) * args->heads" }
  private var partialFloats: String {
    "\(floats(partialTensors)) * sequences_of(args) * args->heads"
  }

  /// Places in the workspace, which the card alone looks at.
  private var places: String {
    var out = CWriter()
    func place(_ tensors: [Tensor], _ begin: String?, _ each: String) {
      var before = 0
      for tensor in tensors {
        out.block("SL_ANYWHERE float *\(tensor.name)_of(const arguments *args)") {
          let own = begin.map { "\($0) + " } ?? ""
          $0.line("return (float *)args->workspace + \(own)\(before) * \(each) * args->heads;")
        }
        before += tensor.rows * tensor.columns
      }
    }
    place(segmentTensors, nil, "slots_of(args)")
    place(partialTensors, segmentTensors.isEmpty ? nil : slotFloats, "sequences_of(args)")
    if overflow != nil {
      out.line("// A block's tiles that its shared memory does not hold.")
      out.block("SL_ANYWHERE char *tiles_of(const arguments *args)") {
        $0.line("return (char *)args->workspace + (\(bytesBeforeTiles));")
      }
    }
    return own(out.text)
  }

  /// What the workspace begins with, rounded up to where tiles may begin.
  private var bytesBeforeTiles: String {
    "(\(bytesOfTensors ?? "0") + 127) / 128 * 128"
  }

  private var bytesOfTensors: String? {
    let parts =
      (segmentTensors.isEmpty ? [] : [slotFloats])
      + (partialTensors.isEmpty ? [] : [partialFloats])
    return parts.isEmpty
      ? nil : "(\(parts.joined(separator: " + "))) * (int64_t)sizeof(float)"
  }

  private var workspaceBytes: String? {
    if let walk { return walk.workspaceBytes }
    let bytes = overflow.map {
      "\(bytesBeforeTiles) + \($0.blocks) * (int64_t)\($0.bytes)"
    }
    return bytes ?? bytesOfTensors
  }

  // MARK: The card's side

  /// The kernels of the phases, for a block of threads each.
  var functions: String {
    guard gradient == nil else { return sizes }
    let texts = program.phases.map { phase in
      var emitter = PhaseEmitter(program: program, phase: phase, target: target, kernel: kernel)
      emitter.landing = landing
      return emitter.deviceFunction()
    }
    return counts + "\n" + places + "\n" + own(texts.joined(separator: "\n"))
  }

  /// What kernels of warpgroups need before their maps.
  var sizes: String { counts + "\n" + places }

  var kernelNames: [String] {
    ownKernels?.kernelNames
      ?? program.phases.map { "\(kernel)_\($0.name)" }
  }
  var kernelMemory: [Int] {
    ownKernels?.kernelMemory ?? warpgroup?.sharedBytes
      ?? layouts.map { $0.bytes + (landing?.bytes ?? 0) }
  }
  var kernelThreads: [Int] {
    ownKernels?.kernelThreads ?? warpgroup?.phaseThreads
      ?? program.phases.map { _ in target.device!.threads }
  }

  // MARK: The processor's side

  /// The entries: checks, then one launch a phase.
  var entries: String {
    let printer = EntryEmitter(
      program: program, manifest: manifest, layouts: [], usesMatrixUnit: false, entry: entry,
      pointers: pointers)
    let size = entry == "forward" ? "workspace_size" : "\(entry)_workspace_size"
    var out = CWriter()
    out.line(
      "// 0, or what is wrong with the sizes. Offsets of packed sequences lie on the card and")
    out.line("// are not looked at.")
    printer.sizeCheck(&out, readsOffsets: false)
    out.line()
    out.block("SL_EXPORT int64_t \(kernel)_\(size)(const arguments *args)") { out in
      out.line("const int32_t problem = check_sizes(args);")
      out.line("if (problem) return -problem;")
      out.longLine("return \(gradient?.workspaceBytes ?? workspaceBytes ?? "0");")
    }
    out.line()
    printer.pointerCheck(
      &out, workspace: gradient != nil || workspaceBytes != nil ? .bySizes : .never)
    out.line()
    out.line(
      "// Puts the kernel on `stream`, a CUstream of the current context; NULL is the default one.")
    out.block("SL_EXPORT int32_t \(kernel)_\(entry)_on(const arguments *args, void *stream)") {
      out in
      out.lines([
        "int32_t problem = check_sizes(args);",
        "if (!problem) problem = check_pointers(args);",
        "if (!problem) problem = prepare();",
      ])
      if let launch = walk?.launch ?? warpgroup?.launch {
        out.lines(launch + ["return problem;"])
        return
      }
      if entry == "step" {
        out.lines([
          "if (problem) return problem;",
          "// Without a state of its own to begin from it moves the one that it writes.",
          "arguments moved = *args;",
          "if (!moved.initial_state) moved.initial_state = moved.final_state;",
          "args = &moved;",
        ])
        if landing != nil {
          out.line("// States are copied sixteen bytes at a time.")
          out.line(
            "if (((uintptr_t)args->initial_state | (uintptr_t)args->final_state) % 16) return 6;")
        }
      }
      if let gradient {
        out.line("if (problem) return problem;")
        out.lines(gradient.launch(firstKernel))
        return
      }
      out.line("void *given[] = {(void *)args};")
      for (index, phase) in program.phases.enumerated() {
        out.line(
          "if (!problem) problem = launch(\(firstKernel + index), \(blocks(phase)), given, stream);"
        )
      }
      out.line("return problem;")
    }
    out.line()
    out.block("SL_EXPORT int32_t \(kernel)_\(entry)(const arguments *args)") {
      $0.line("return \(kernel)_\(entry)_on(args, NULL);")
    }
    return own(out.text)
  }

  /// Names for programs that load one library at a time, beside the forward entry's.
  var aliases: String {
    let type = entry == "backward" ? "backward_arguments" : "arguments"
    return [
      ("int32_t", entry, ""), ("int64_t", "\(entry)_workspace_size", ""),
      ("int32_t", "\(entry)_on", ", void *stream"),
    ].map { result, name, further in
      "SL_EXPORT \(result) sluice_\(name)(const \(type) *args\(further))\n"
        + "    __attribute__((weak, alias(\"\(kernel)_\(name)\")));\n"
    }.joined()
  }
}
