/// Texts that hold no decision: instruction vocabularies, the runner, the Python module.
///
/// They are compiled into the program, so that a moved binary needs no folder beside it.
public enum Templates {
  /// The vocabularies: what each word is on a machine.
  public static let vocabularies = ["generic.h", "avx2.h", "avx512.h", "neon.h", "amx.h"]

  /// What is written on the words of any vocabulary, in the order in which it is pasted: tiles
  /// always, the others where a kernel has use for them.
  public static let tileWords = [
    "common.h", "tiles.h", "recurrence.h", "gradients.h", "step.h", "monomials.h",
  ]

  /// The vocabularies of CUDA devices, in the order in which they are pasted.
  public static let deviceVocabularies = ["words.cuh", "block.cuh"]

  /// The text of a template by its file name; nil when there is none.
  public static func text(_ name: String) -> String? {
    bytes(name).map { String(decoding: $0, as: UTF8.self) }
  }

  /// The text of a program, with the templates that it includes pasted in: one file to compile.
  public static func program(_ name: String) -> String? {
    guard let text = text(name) else { return nil }
    var lines: [String] = []
    for line in text.split(separator: "\n", omittingEmptySubsequences: false) {
      guard line.hasPrefix("#include \"") else {
        lines.append(String(line))
        continue
      }
      guard let included = self.text(String(line.dropFirst(10).dropLast())) else { return nil }
      lines.append(included)
    }
    return lines.joined(separator: "\n")
  }

  private static func bytes(_ name: String) -> [UInt8]? {
    switch name {
    case "generic.h": PackageResources.generic_h
    case "avx2.h": PackageResources.avx2_h
    case "avx512.h": PackageResources.avx512_h
    case "amx.h": PackageResources.amx_h
    case "neon.h": PackageResources.neon_h
    case "double.h": PackageResources.double_h
    case "common.h": PackageResources.common_h
    case "tiles.h": PackageResources.tiles_h
    case "recurrence.h": PackageResources.recurrence_h
    case "gradients.h": PackageResources.gradients_h
    case "step.h": PackageResources.step_h
    case "monomials.h": PackageResources.monomials_h
    case "cases.h": PackageResources.cases_h
    case "sha256.h": PackageResources.sha256_h
    case "runner.c": PackageResources.runner_c
    case "measure.c": PackageResources.measure_c
    case "measure.sh": PackageResources.measure_sh
    case "words.cuh": PackageResources.words_cuh
    case "block.cuh": PackageResources.block_cuh
    case "backward.cuh": PackageResources.backward_cuh
    case "step.cuh": PackageResources.step_cuh
    case "prepared.cuh": PackageResources.prepared_cuh
    case "prepared_alike.cuh": PackageResources.prepared_alike_cuh
    case "prepared_walk.cuh": PackageResources.prepared_walk_cuh
    case "hopper.cuh": PackageResources.hopper_cuh
    case "anchored.cuh": PackageResources.anchored_cuh
    case "anchored_exact.cuh": PackageResources.anchored_exact_cuh
    case "anchored_roles.cuh": PackageResources.anchored_roles_cuh
    case "anchored_prepare.cuh": PackageResources.anchored_prepare_cuh
    case "anchored_multiply.cuh": PackageResources.anchored_multiply_cuh
    case "gradient.cuh": PackageResources.gradient_cuh
    case "gradient_states.cuh": PackageResources.gradient_states_cuh
    case "gradient_adjoints.cuh": PackageResources.gradient_adjoints_cuh
    case "gradient_levels.cuh": PackageResources.gradient_levels_cuh
    case "gradient_exact.cuh": PackageResources.gradient_exact_cuh
    case "gradient_wide.cuh": PackageResources.gradient_wide_cuh
    case "gradient_wide_exact.cuh": PackageResources.gradient_wide_exact_cuh
    case "tensors.c": PackageResources.tensors_c
    case "driver.c": PackageResources.driver_c
    case "device.h": PackageResources.device_h
    case "probe.c": PackageResources.probe_c
    case "calibrate.c": PackageResources.calibrate_c
    case "package.py": PackageResources.package_py
    case "_backward.py": PackageResources._backward_py
    case "_checks.py": PackageResources._checks_py
    case "_field.py": PackageResources._field_py
    case "_forward.py": PackageResources._forward_py
    case "_library.py": PackageResources._library_py
    case "_manifest.py": PackageResources._manifest_py
    case "_step.py": PackageResources._step_py
    case "_tensors.py": PackageResources._tensors_py
    case "_wheel.py": PackageResources._wheel_py
    case "pyproject.toml": PackageResources.pyproject_toml
    case "cuda.py": PackageResources.cuda_py
    case "autograd.py": PackageResources.autograd_py
    case "decode.py": PackageResources.decode_py
    default: nil
    }
  }
}
