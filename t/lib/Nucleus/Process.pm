package Nucleus::Process;

# What a process takes of the machine, from /proc, in bytes.

use strict;
use warnings;

use Nucleus::Test;

sub _status {
    my ($pid, $name) = @_;

    open my $fh, '<', "/proc/$pid/status" or return 0;

    while (my $line = <$fh>) {
        return $1 << 10 if $line =~ /^$name:\s+(\d+) kB/;
    }

    return 0;
}

sub rss      { return _status($_[0], 'VmRSS') }
sub peak_rss { return _status($_[0], 'VmHWM') }

# proc(5): the peak begins anew at what it is now.
sub reset_peak {
    my ($pid) = @_;

    open my $fh, '>', "/proc/$pid/clear_refs" or die "clear_refs: $!\n";
    print {$fh} "5\n";
    close $fh or die "clear_refs: $!\n";
}

sub descriptors { my @files = Nucleus::Test::open_files($_[0]); return scalar @files }

# Is it a build whose memory says nothing?
sub sanitized { return `@{[ Nucleus::Test::nginx_binary() ]} -V 2>&1` =~ /-fsanitize=/ }

1;
