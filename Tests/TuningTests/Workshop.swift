import Emission
import Evaluation
import Execution
import Foundation
import Planning
import Recurrences
import Schedules
import Synchronization
import Targets

import Tuning

/// A folder with a compiler, a kernel cache and records of its own, removed at the end.
final class Workshop: Sendable {
  let folder: String
  let builder: Builder
  let cache: KernelCache
  let store: RecordStore

  /// One cache for all tests: what one has built another finds.
  private static let cacheFolder: String = {
    atexit { Files.remove(Workshop.cacheFolder) }
    return (try? Files.makeUniqueFolder(in: "/tmp", prefix: "sluice-tuning-cache-")) ?? ""
  }()

  init() async throws {
    folder = try Files.makeUniqueFolder(in: "/tmp", prefix: "sluice-tuning-")
    builder = Builder(toolchain: try await Toolchain.find())
    cache = KernelCache(folder: Self.cacheFolder)
    store = try RecordStore("\(folder)/records.sqlite")
  }

  deinit { Files.remove(folder) }

  static func specification(
    _ name: String = "gla", key: Int = 8, value: Int = 8, target: Target = .generic
  ) throws -> KernelSpecification {
    try KernelSpecification(
      normalForm: try Recurrence.named(name).normalForm(), key: key, value: value, type: .f32,
      gateType: .f32, target: target)
  }

  static let workload = Workload(heads: 2, length: 300, threads: 1)

  func tuner(_ budget: Budget, target: Target = .generic) throws -> Tuner {
    var tuner = Tuner(
      try Self.specification(target: target), Self.workload, request: PlanRequest(),
      budget: budget, jobs: 2, ranker: CostModel(), records: store, builder: builder, cache: cache)
    tuner.limit = 2
    return tuner
  }

  /// A record as a search would leave it.
  static func record(
    _ plan: Plan, seconds: Double?, status: CandidateStatus = .ok, key: Int = 8, value: Int = 8,
    workload: Workload = workload, machine: String? = nil, version: String? = nil,
    target: Target = .generic
  ) throws -> TuningRecord {
    let specification = try specification(key: key, value: value, target: target)
    var tuningKey = TuningKey(specification, workload, machine: machine)
    if let version { tuningKey.version = version }
    var record = TuningRecord(
      key: tuningKey, workload: workload, kernel: KernelName(specification, plan), predicted: 1,
      compiler: "clang", status: status, detail: "")
    record.seconds = seconds
    record.spread = seconds.map { _ in 0.01 }
    record.calls = seconds == nil ? 0 : 9
    return record
  }

  static func plans(key: Int = 8, value: Int = 8) throws -> [Plan] {
    try Planner().legalPlans(try specification(key: key, value: value), PlanRequest())
  }
}
