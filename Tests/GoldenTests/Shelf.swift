import Emission
import Foundation
import Recurrences
import Schedules
import Targets

/// The kernels under `generated/`: a few to read, one of each kind, by the names that make them.
enum Shelf {
  static let kernels = [
    "gla_k64_v64_f32_gf32_avx512_fused_c64_s16_kt64_vt64_m0_pf32_n1",
    "gla_k64_v64_bf16_gf32_avx512bf16_fused_c64_s16_kt64_vt64_m0_pbf16_n1",
    "gla_k128_v128_f32_gf32_avx512_register_c16_s16_kt128_vt128_ht4_m0_pf32_n1",
    "rwkv6_k64_v64_f32_gf32_generic_fused_c32_s16_kt64_vt64_m0_pf32_n1",
    "mamba2_k64_v64_f32_gf32_avx2_seg_c64_s64_kt64_vt64_m4_pf32_n4",
    "gated_outer_k64_v64_f32_gf32_neon_fused_c32_s8_kt64_vt64_m0_pf32_n1",
  ]

  /// The repository's folder of kernels.
  static let folder = URL(filePath: #filePath).deletingLastPathComponent()
    .deletingLastPathComponent().deletingLastPathComponent().appending(path: "generated").path

  /// Whether the shelf is to be written instead of compared.
  static let isUpdated = ProcessInfo.processInfo.environment["SLUICE_UPDATE_GENERATED"] == "1"

  /// A kernel from its name alone.
  static func emit(_ text: String) throws -> EmittedKernel {
    guard let name = KernelName(text) else {
      throw SluiceError(.internal, "'\(text)' is no kernel's name.")
    }
    let specification = try KernelSpecification(
      normalForm: Recurrence.named(name.recurrence).normalForm(), key: name.key,
      value: name.value, type: name.type, gateType: name.gateType, target: .named(name.target))
    return try Emitter.emit(specification, name.plan)
  }
}
