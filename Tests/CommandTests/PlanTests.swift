import Execution
import Foundation
import Sluice
import Testing

/// `probe`, `plan`, `survey` and `report`: from a measured machine to a page on measured plans.
@Suite struct PlanTests {
  @Test func theFunnelAddsUp() async throws {
    let scene = try Scene()
    let said = try await scene.answer(["plan", "gla"] + Scene.small + ["--explain"])
    for words in ["plans, ", "of them legal", "REFUSED", "the model's best, in ms", " wins by "] {
      #expect(said.contains(words), "\(words)")
    }
    let answer = try #require(
      try await scene.json(["plan", "gla"] + Scene.small + ["--explain"]) as? [String: Any])
    let parts = try #require(answer["schedules"] as? [[String: Any]])
    var plans = 0
    for part in parts {
      let refused = (part["rejections"] as? [[String: Any]] ?? []).compactMap {
        $0["count"] as? Int
      }
      let own = try #require(part["plans"] as? Int)
      #expect(own == (part["legal"] as? Int ?? -1) + refused.reduce(0, +))
      plans += own
    }
    #expect(answer["plans"] as? Int == plans)
    #expect((answer["best"] as? [Any])?.count == 10)
  }

  @Test func thePlanAloneIsWhatIsBuilt() async throws {
    let scene = try Scene()
    let plan = try await scene.answer(["plan", "gla"] + Scene.small)
    #expect(
      plan == (try await scene.answer(["generate", "gla"] + Scene.small + ["--emit", "plan"])))
    #expect(plan.hasPrefix("schedule"))
  }

  @Test func aProbeIsKeptAndUsed() async throws {
    let scene = try Scene()
    let own = ["SLUICE_CACHE": "\(scene.folder)/cache"] as [String: String?]
    let words = ["plan", "gla"] + Scene.small + ["--explain"]
    #expect(try await scene.answer(words, environment: own).contains("assumed figures"))
    let table = try await scene.answer(["probe", "--target", "generic"], environment: own)
    #expect(table.contains("GFLOP/s") && table.contains("third cache"))
    #expect(try await scene.answer(words, environment: own).contains("this machine's probe"))
    // A damaged one is named, and does not stop anybody.
    let path = "\(scene.folder)/cache/probes/generic.json"
    try Files.write("{\"format\": 1}", to: path)
    let outcome = try await scene.sluice(words, environment: own)
    #expect(outcome.succeeded && outcome.output.contains("assumed figures"))
    #expect(outcome.errors.contains("damaged") && outcome.errors.contains("sluice probe"))
    // One that is asked for by name does.
    try await scene.refusal(
      ["plan", "gla"] + Scene.small + ["--probe", path], .badInput, saying: "damaged")
    try await scene.refusal(["probe", "--threads", "0"], .usage, saying: "from 1 to 4096, not 0")
  }

  @Test func measuredPlansBecomeAPage() async throws {
    let scene = try Scene()
    let words =
      ["survey", "measure", "gla"] + Scene.small
      + [
        "--heads", "1", "--length", "64", "--plans", "4", "--milliseconds", "2", "-o", "space.json",
      ]
    let first = try await scene.answer(words + ["--untimed"])
    #expect(first.contains("0 timed, 0 failed, of 4 plans"))
    #expect(try await scene.answer(words).contains("4 timed, 0 failed, of 4 plans"))
    let lines = try #require(
      try await scene.json(["survey", "show", "space.json"]) as? [[String: Any]])
    #expect(lines[0]["timed"] as? Int == 4)
    #expect((lines[0]["pickOverBest"] as? Double ?? 0) >= 1)
    #expect(try await scene.answer(["report", "space.json"]) == "report.html\n")
    let page = String(
      decoding: try Files.read("\(scene.folder)/report.html"), as: UTF8.self)
    #expect(page.contains("<svg") && page.contains("roofs"))
    try await scene.refusal(
      ["report", "--records", "none.sqlite"], .badInput, saying: "Nothing was measured yet")
    try Files.write("{}", to: "\(scene.folder)/space.json")
    for verb in [["report"], ["survey", "show"]] {
      try await scene.refusal(verb + ["space.json"], .badInput, saying: "measure it anew")
    }
    try await scene.refusal(["report", "absent.json"], .io, saying: "no such file")
  }
}
