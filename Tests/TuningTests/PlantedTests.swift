import Emission
import Evaluation
import Execution
import Synchronization
import Testing

import Tuning

/// A candidate that misbehaves costs itself only: it is on record with its plan, and the search goes on.
@Suite struct PlantedTests {
  enum Fault: String, CaseIterable, Sendable {
    case crashes, hangs, corrupts, answersWrongly, exits, readsBeyond, cannotBeBuilt

    /// What the entry does before, or in place of, its work.
    var code: String {
      switch self {
      case .crashes: "*(volatile int *)8 = 1;"
      case .hangs: "volatile int stays = 1; while (stays) {}"
      case .corrupts: "args->o[-1] = 1.0f;"
      case .answersWrongly: "if (args->length > 200) { args->o[args->length] = 3.0f; return 0; }"
      case .exits: "extern void _exit(int); _exit(0);"
      case .readsBeyond:
        "volatile float x = args->q[args->length * args->query_heads * 8]; args->o[0] = x;"
      case .cannotBeBuilt: "this is no C;"
      }
    }

    var status: CandidateStatus {
      switch self {
      case .crashes, .exits: .crashed
      case .hangs: .hung
      case .corrupts, .readsBeyond: .memory
      case .answersWrongly: .wrong
      case .cannotBeBuilt: .unbuilt
      }
    }
  }

  @Test(arguments: Fault.allCases)
  func isRecorded(_ fault: Fault) async throws {
    let shop = try await Workshop()
    var tuner = try shop.tuner(.candidates(4))
    let victim = Mutex<String?>(nil)
    tuner.alteration = { kernel in
      // The first that is built is the bad one.
      let isVictim = victim.withLock { name in
        if name == nil { name = kernel.name.description }
        return name == kernel.name.description
      }
      guard isVictim else { return kernel.source }
      var source = kernel.source
      let head = "int32_t \(kernel.name)_forward(const arguments *args) {"
      #expect(source.text.contains(head))
      source.text = source.text.replacing(head, with: "\(head)\n  \(fault.code)")
      return source
    }
    let report = try await tuner.run()
    let name = try #require(victim.withLock { $0 })
    let stored = try shop.store.records(of: report.key)
    let bad = try #require(stored.first { $0.kernel == name })
    #expect(bad.status == fault.status, "\(bad.detail)")
    #expect(bad.seconds == nil)
    #expect(!bad.detail.isEmpty)
    #expect(KernelName(name)?.plan == bad.plan)
    // The others were measured all the same.
    #expect(stored.count == 4)
    #expect(stored.count { $0.status == .ok } == 3)
    #expect(report.best != nil)
  }
}
