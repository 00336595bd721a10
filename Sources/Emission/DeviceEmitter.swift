import Recurrences
import Schedules
import Targets
import Templates
import TileIR

/// Prints a kernel for a card: one file that is compiled twice, as CUDA for the card, and, with
/// `SLUICE_HOST` defined, as the C library that carries the card's code and launches it.
struct DeviceEmitter {
  let manifest: KernelManifest
  let target: Target
  let device: Device
  let forward: DevicePart
  /// What the library has beside the forward entry.
  var further: [DevicePart] = []
  /// The gradient's argument struct, where there is a gradient.
  var backward: BackwardEmitter?

  init(
    _ target: Target, _ device: Device, _ manifest: KernelManifest, program: TileProgram,
    walk: (any ChunkWalkEmitter)? = nil, backward: BackwardEmitter?, step: TileProgram?
  ) {
    self.target = target
    self.device = device
    self.manifest = manifest
    self.backward = backward
    forward = DevicePart(
      program: program, manifest: manifest, target: target, entry: "forward",
      pointers: EntryPointers(manifest), firstKernel: 0, walk: walk)
    var count = forward.kernelNames.count
    let entries = [
      ("backward", backward?.program, backward?.entryPointers),
      ("step", step, EntryPointers(manifest)),
    ]
    for case (let entry, let program?, let pointers?) in entries {
      further.append(
        DevicePart(
          program: program, manifest: manifest, target: target, entry: entry, pointers: pointers,
          firstKernel: count,
          gradient: entry == "backward" ? backward?.card : nil))
      count += further.last!.kernelNames.count
    }
  }

  private var kernel: String { manifest.name }
  private var parts: [DevicePart] { [forward] + further }
  private var describesTensors: Bool {
    forward.usesWarpgroups || further.contains { $0.gradient?.describesTensors == true }
  }

  /// - Throws: `.internal` when a vocabulary is missing from this build.
  func source(preamble: String, interface: Interface, manifestJSON: String) throws(SluiceError)
    -> String
  {
    var texts = [preamble, interface.argumentStruct]
    if let backward { texts.append(backward.argumentStruct) }
    texts.append("typedef struct \(kernel)_args arguments;\n")
    if backward != nil {
      texts.append("typedef struct \(kernel)_backward_args backward_arguments;\n")
    }
    texts += ["#ifndef SLUICE_HOST", "// ==== The card's part: CUDA ====\n"]
    if let walk = forward.walk {
      texts.append(walk.settings)
      for name in walk.vocabularies { texts.append(try template(name)) }
      texts += ["#define SL_ANYWHERE SL_WORD\n", forward.sizes, walk.maps, walk.functions]
      if !further.isEmpty { texts += [settings, notForward, try template("block.cuh")] }
    } else if let warpgroup = forward.warpgroup {
      texts.append(warpgroup.settings)
      for name in WarpgroupEmitter.vocabularies { texts.append(try template(name)) }
      texts += ["#define SL_ANYWHERE SL_WORD\n", forward.sizes, warpgroup.maps]
      for name in warpgroup.walkVocabularies { texts.append(try template(name)) }
      texts.append(warpgroup.functions)
      if !further.isEmpty {
        texts += ["#undef SL_THREADS", settings, notForward, try template("block.cuh")]
      }
    } else {
      texts.append(settings)
      for name in Templates.deviceVocabularies { texts.append(try template(name)) }
      texts += ["#define SL_ANYWHERE SL_WORD\n", forward.functions]
    }
    var hasHopper = forward.usesWarpgroups
    for part in further {
      if part.gradient != nil || part.landing != nil, !hasHopper {
        texts.append(try template("hopper.cuh"))
        hasHopper = true
      }
      if let landing = part.landing { texts.append(landing.settings) }
      texts.append(try template("\(part.entry).cuh"))
      if part.landing != nil { texts.append(try template("step_landed.cuh")) }
      texts.append(part.functions)
      guard let gradient = part.gradient else { continue }
      texts.append(gradient.settings)
      for name in gradient.vocabularies where forward.walk?.vocabularies.contains(name) != true {
        texts.append(try template(name))
      }
      texts.append(gradient.functions)
    }
    texts += [
      "#else", "// ==== The processor's part: C ====\n", hostIncludes,
      "#define SL_ANYWHERE static inline\n", forward.counts, constants, try template("driver.c"),
      try template("launches.c"),
      describesTensors ? try template("tensors.c") : "",
      forward.usesWarpgroups ? try template("resident.c") : "", forward.entries, message,
    ]
    for part in further { texts += [part.counts, part.entries, part.aliases] }
    texts += [tail(manifestJSON), "#endif"]
    return texts.joined(separator: "\n") + "\n"
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
    var out = CWriter()
    out.line("#define SL_THREADS \(device.threads)")
    if manifest.type != .f32 { out.line("#define SL_TF32") }
    return out.text
  }

  /// Where the forward pass has words of its own, the block's serve gradients and steps alone.
  private let notForward = "#define SL_NOT_FORWARD\n"

  private var hostIncludes: String {
    ["dlfcn", "pthread", "stdio", "string"].map { "#include <\($0).h>" }.joined(separator: "\n")
      + "\n\n#define SL_EXPORT __attribute__((visibility(\"default\")))\n"
  }

  /// Bytes of shared memory that each kernel is launched with.
  var blockMemory: [String: Int] {
    Dictionary(
      zip(parts.flatMap(\.kernelNames), parts.flatMap(\.kernelMemory)), uniquingKeysWith: max)
  }

  private var constants: String {
    var out = CWriter()
    func list(_ values: [String]) -> String { "{\(values.joined(separator: ", "))}" }
    let names = parts.flatMap(\.kernelNames).map { "\"\($0)\"" }
    let memory = parts.flatMap(\.kernelMemory).map(String.init)
    let threads = parts.flatMap(\.kernelThreads).map(String.init)
    out.line("// The card's code, as clang made it of the part above.")
    out.lines([
      "static const unsigned char image[] = {", "#embed \"kernel.ptx\" suffix(, 0)", "};",
    ])
    out.lines(machineCodes)
    out.line(
      "enum { driver_needed = \(device.driverVersion), card_needed = \(device.computeCapability), "
        + "card_is_exact = \(target.name.hasSuffix("a") ? 1 : 0) };")
    out.line("static const char *const kernel_names[] = \(list(names));")
    out.line("static const int kernel_memory[] = \(list(memory));")
    out.line("static const int kernel_threads[] = \(list(threads));")
    return out.text
  }

  /// The machine codes and, for the table of images, the cards that they are for.
  private var machineCodes: [String] {
    let codes = device.architectures.map { (name: "machine_code_\($0.computeCapability)", of: $0) }
    let embedded = codes.flatMap {
      [
        "static _Alignas(16) const unsigned char \($0.name)[] = {",
        "#embed \"\($0.of.fileName)\"", "};",
      ]
    }
    let table = codes.map { "{\($0.name), \($0.of.computeCapability)}," }.joined(separator: " ")
    return [
      "// Its machine code for each family of cards, where ptxas was at hand.",
      "#if __has_embed(\"\(codes[0].of.fileName)\")",
    ] + embedded + ["#define MACHINE_CODES \(table)", "#else", "#define MACHINE_CODES", "#endif"]
  }

  private var message: String {
    var out = CWriter()
    out.block("SL_EXPORT const char *\(kernel)_message(int32_t code)") {
      $0.line("return describe(code);")
    }
    return out.text
  }

  private func tail(_ manifestJSON: String) -> String {
    let entry = EntryEmitter(
      program: forward.program, manifest: manifest, layouts: [], usesMatrixUnit: false,
      pointers: forward.pointers)
    return entry.tail(
      manifestJSON: manifestJSON,
      further: [
        ("int32_t", "forward_on", "const arguments *args, void *stream"),
        ("const char *", "message", "int32_t code"),
      ])
  }
}
