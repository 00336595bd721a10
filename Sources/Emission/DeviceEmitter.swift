import Recurrences
import Schedules
import Targets
import Templates
import TileIR

/// Prints a kernel for a card: one file that is compiled twice, as CUDA for the card, and, with
/// `SLUICE_HOST` defined, as the C library that carries the card's code and launches it.
struct DeviceEmitter {
  let program: TileProgram
  let manifest: KernelManifest
  let target: Target
  let device: Device

  private var kernel: String { manifest.name }
  /// The walk by products of warpgroups, if the program is one.
  private var warpgroup: WarpgroupEmitter? { WarpgroupEmitter(program, kernel: kernel) }

  /// - Throws: `.internal` when a vocabulary is missing from this build.
  func source(preamble: String, interface: Interface, manifestJSON: String) throws(SluiceError)
    -> String
  {
    var parts = [
      preamble, interface.argumentStruct, "typedef struct \(kernel)_args arguments;\n",
      "#ifndef SLUICE_HOST", "// ==== The card's part: CUDA ====\n", settings,
    ]
    let names = warpgroup == nil ? Templates.deviceVocabularies : WarpgroupEmitter.vocabularies
    for name in names { parts.append(try template(name)) }
    parts.append("#define SL_ANYWHERE SL_WORD\n")
    parts += [counts, segmentPlaces]
    if let warpgroup {
      parts.append(warpgroup.maps)
      for name in WarpgroupEmitter.walkVocabularies { parts.append(try template(name)) }
      parts.append(warpgroup.functions)
    }
    for phase in warpgroup == nil ? program.phases : [] {
      var emitter = PhaseEmitter(program: program, phase: phase, target: target, kernel: kernel)
      parts.append(emitter.deviceFunction())
    }
    parts += [
      "#else", "// ==== The processor's part: C ====\n", hostIncludes,
      "#define SL_ANYWHERE static inline\n", counts, constants, try template("driver.c"),
      warpgroup == nil ? "" : try template("tensors.c"), entries, tail(manifestJSON), "#endif",
    ]
    return parts.joined(separator: "\n") + "\n"
  }

  private func template(_ name: String) throws(SluiceError) -> String {
    guard let text = Templates.text(name) else {
      throw SluiceError(.internal, "The template '\(name)' is not part of this build.")
    }
    return "// ---- \(name) ----\n\n" + text
  }

  /// What the vocabularies are told. Products of what was rounded to sixteen bits in memory are
  /// taken in tf32, which rounds to ten bits of fraction; f32 stays f32.
  private var settings: String {
    if let warpgroup { return warpgroup.settings }
    var out = CWriter()
    out.line("#define SL_THREADS \(device.threads)")
    if manifest.type != .f32 { out.line("#define SL_TF32") }
    return out.text
  }

  private var threads: Int { warpgroup == nil ? device.threads : WarpgroupEmitter.threads }

  /// Sizes of the grid and of the workspace: both sides need them.
  private var counts: String {
    var out = CWriter()
    out.block("SL_ANYWHERE int64_t sequences_of(const arguments *args)") {
      $0.line("return args->cu_seqlens ? args->sequences : args->batch;")
    }
    guard !segmentTensors.isEmpty else { return out.text }
    if program.segmentation == .perChunk {
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
        out.line(
          "return args->batch * (args->length / \(program.chunk)) + sequences_of(args);")
      }
    }
    return out.text
  }

  private var segmentTensors: [Tensor] { program.tensors.filter { $0.kind == .segment } }

  /// Places in the workspace, which the card alone looks at.
  private var segmentPlaces: String {
    var out = CWriter()
    var before = 0
    for tensor in segmentTensors {
      out.block("SL_ANYWHERE float *\(tensor.name)_of(const arguments *args)") {
        $0.line("return (float *)args->workspace + \(before) * slots_of(args) * args->heads;")
      }
      before += tensor.rows * tensor.columns
    }
    return out.text
  }

  private var hostIncludes: String {
    ["dlfcn", "pthread", "stdio", "string"].map { "#include <\($0).h>" }.joined(separator: "\n")
      + "\n\n#define SL_EXPORT __attribute__((visibility(\"default\")))\n"
  }

  private var constants: String {
    var out = CWriter()
    func list(_ values: [String]) -> String { "{\(values.joined(separator: ", "))}" }
    let names = program.phases.map { "\"\(kernel)_\($0.name)\"" }
    out.line("// The card's code, as clang made it of the part above.")
    out.lines([
      "static const unsigned char image[] = {", "#embed \"kernel.ptx\" suffix(, 0)", "};",
    ])
    out.line(
      "enum { driver_needed = \(device.driverVersion), card_needed = \(device.computeCapability), "
        + "card_is_exact = \(target.name.hasSuffix("a") ? 1 : 0) };")
    out.line("static const char *const kernel_names[] = \(list(names));")
    out.line(
      "static const int kernel_memory[] = "
        + "\(list((warpgroup?.sharedBytes ?? program.phases.map(\.sharedBytes)).map(String.init)));"
    )
    out.line(
      "static const int kernel_threads[] = "
        + "\(list(program.phases.map { _ in String(threads) }));")
    return out.text
  }

  /// The entries: checks, then one launch a phase.
  private var entries: String {
    let entry = EntryEmitter(
      program: program, manifest: manifest, layouts: [], usesMatrixUnit: false,
      pointers: EntryPointers(manifest))
    let states = program.tensors.filter { $0.kind == .segment }
      .reduce(0) { $0 + $1.rows * $1.columns }
    var out = CWriter()
    out.line(
      "// 0, or what is wrong with the sizes. Offsets of packed sequences lie on the card and")
    out.line("// are not looked at.")
    entry.sizeCheck(&out, readsOffsets: false)
    out.line()
    out.block("SL_EXPORT int64_t \(kernel)_workspace_size(const arguments *args)") { out in
      out.line("const int32_t problem = check_sizes(args);")
      out.line("if (problem) return -problem;")
      out.line(
        states == 0
          ? "return 0;"
          : "return slots_of(args) * args->heads * \(states) * (int64_t)sizeof(float);")
    }
    out.line()
    entry.pointerCheck(&out, needsWorkspace: states > 0)
    out.line()
    out.line(
      "// Puts the kernel on `stream`, a CUstream of the current context; NULL is the default one.")
    out.block("SL_EXPORT int32_t \(kernel)_forward_on(const arguments *args, void *stream)") {
      out in
      out.lines([
        "int32_t problem = check_sizes(args);",
        "if (!problem) problem = check_pointers(args);",
        "if (!problem) problem = prepare();",
      ])
      if let warpgroup {
        out.lines(warpgroup.launch + ["return problem;"])
        return
      }
      out.line("void *given[] = {(void *)args};")
      for (index, phase) in program.phases.enumerated() {
        let extents = phase.grid.map {
          program.extent($0, sequences: "sequences_of(args)", heads: "args->heads")
        }.filter { $0 != "1" }
        out.line(
          "if (!problem) problem = launch(\(index), \(extents.joined(separator: " * ")), given, "
            + "stream);")
      }
      out.line("return problem;")
    }
    out.line()
    out.block("SL_EXPORT int32_t \(kernel)_forward(const arguments *args)") {
      $0.line("return \(kernel)_forward_on(args, NULL);")
    }
    out.line()
    out.block("SL_EXPORT const char *\(kernel)_message(int32_t code)") {
      $0.line("return describe(code);")
    }
    return out.text
  }

  private func tail(_ manifestJSON: String) -> String {
    let entry = EntryEmitter(
      program: program, manifest: manifest, layouts: [], usesMatrixUnit: false,
      pointers: EntryPointers(manifest))
    return entry.tail(
      manifestJSON: manifestJSON,
      further: [
        ("int32_t", "forward_on", "const arguments *args, void *stream"),
        ("const char *", "message", "int32_t code"),
      ])
  }
}
