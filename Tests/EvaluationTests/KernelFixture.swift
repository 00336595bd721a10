import Emission
import Evaluation
import Execution
import Foundation
import Recurrences
import Schedules
import Targets

/// Kernels built for tests, small and quickly.
final class KernelFixture: Sendable {
  let folder: String
  let builder: Builder
  let cache: KernelCache

  /// The runners that the tests of this process share: one takes as long to build as a small kernel,
  /// and each planted fault has a fixture of its own.
  private static let runners: String? = {
    atexit {
      if let folder = KernelFixture.runners { Files.remove(folder) }
    }
    return try? Files.makeUniqueFolder(in: "/tmp", prefix: "sluice-evaluation-runners-")
  }()

  init() async throws {
    folder = try Files.makeUniqueFolder(in: "/tmp", prefix: "sluice-evaluation-")
    builder = Builder(toolchain: try await Toolchain.find())
    cache = KernelCache(folder: Self.runners ?? "\(folder)/cache")
  }

  deinit { Files.remove(folder) }

  static func specification(
    _ name: String, key: Int = 20, value: Int = 24, type: ElementType = .f32,
    gateType: ElementType = .f32, target: Target = .generic
  ) throws -> KernelSpecification {
    try KernelSpecification(
      normalForm: try Recurrence.named(name).normalForm(), key: key, value: value, type: type,
      gateType: gateType, target: target)
  }

  /// A right kernel, built.
  func build(_ specification: KernelSpecification, _ plan: Plan) async throws -> BuiltKernel {
    let kernel = try Emitter.emit(specification, plan)
    var job = builder.job(kernel.source, for: specification.target)
    job.optimisation = ["-O1"]
    let library = "\(folder)/\(kernel.name).so"
    try await builder.build(job, to: library)
    return BuiltKernel(
      library: library, manifest: kernel.manifest, target: specification.target)
  }

  /// Compiles a source and verifies what comes out.
  func assess(
    _ source: SourceFile, _ manifest: KernelManifest, for target: Target, openMP: Bool = true,
    seed: UInt64, effort: VerifyOptions.Effort = .quick, limit: Duration = .seconds(60),
    farOffsets: Bool = false, stopsEarly: Bool = false, gradientOnly: Bool = false
  ) async throws -> Assessment {
    let own = try Files.makeUniqueFolder(in: folder, prefix: "kernel-")
    defer { Files.remove(own) }
    var job = builder.job(source, for: target, openMP: openMP)
    job.optimisation = [farOffsets ? "-O3" : "-O1"]
    let library = "\(own)/library.so"
    try await builder.build(job, to: library)
    var options = VerifyOptions(
      effort: effort, seed: seed, limit: limit, farOffsets: farOffsets, builder: builder,
      cache: cache)
    options.stopsEarly = stopsEarly
    options.gradientOnly = gradientOnly
    return try await verify(
      library: library, manifest: manifest, target: target, options: options)
  }
}
