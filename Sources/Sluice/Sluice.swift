// Everything that a user's own package needs: to write recurrences, and the whole command for them.
@_exported import Command
@_exported import Emission
@_exported import Evaluation
@_exported import Execution
@_exported import Planning
@_exported import Recurrences
@_exported import Reference
@_exported import Schedules
@_exported import Targets
@_exported import TileIR
@_exported import Tuning

/// The command, for the shipped recurrences and one's own.
///
///     import Sluice
///     await SluiceMain.main(recurrences: [.mine])
public enum SluiceMain {
  /// Runs the command line and exits with its code.
  ///
  /// - Parameter recurrences: listed, described, built and verified like the shipped ones, which
  ///   they may replace by name.
  public static func main(recurrences: [Recurrence]) async {
    await SluiceCommand.run(recurrences)
  }
}
